"""Kernel CCA for any number of rows: linear shrinkage CCA of finite features of a Gaussian kernel.

    Nystroem   f(x) = K(Z, Z)^-1/2 K(Z, x) for M landmark rows Z; exact where every row is a landmark
    Fourier    f(x) = sqrt(2/M) cos(w'x + b), w ~ N(0, 2 gamma I), b uniform

Williams & Seeger 2001; Rahimi & Recht 2007; Lopez-Paz et al. 2014.

The features' moments are gathered in blocks, as in `CCA`: memory is M^2, whatever the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from coview.correlation.cca import CCA, PerView
from coview.correlation.kernel import bandwidths, kernel_matrix
from coview.correlation.linalg import whitener
from coview.correlation.moments import Array, Moments
from coview.correlation.projection import Projection
from coview.correlation.tables import Where, open_table, read_blocks
from coview.errors import InputError
from coview.parallel import rank, world_size
from coview.randomness import make_key, normal, uniform

_BLOCK = 4096  # rows whose features are held at a time
_ROWS, _FREQUENCIES, _PHASES = range(3)  # streams of the key


@dataclass(frozen=True)
class NystroemMap:
    """f(x) = K(Z, Z)^-1/2 K(Z, x): landmarks (M, d), root (M, r)."""

    landmarks: Tensor
    root: Tensor
    gamma: float

    def __call__(self, rows: Tensor) -> Tensor:
        """Return features (N, r) of rows (N, d)."""
        return kernel_matrix(rows.to(self.landmarks), self.landmarks, self.gamma) @ self.root


@dataclass(frozen=True)
class FourierMap:
    """f(x) = sqrt(2/M) cos(w'(x - centre) + b): frequencies (d, M), phases (M,), centre (d,)."""

    frequencies: Tensor
    phases: Tensor
    centre: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Return features (N, M) of rows (N, d)."""
        turned = (rows.to(self.centre) - self.centre) @ self.frequencies + self.phases
        return math.sqrt(2 / len(self.phases)) * torch.cos(turned)


class KernelFeatureCCA(Projection):
    """Gaussian-kernel CCA of two views through finite features; see the module's equations.

    Args:
        n_components: k.
        approximation: "nystroem" or "fourier".
        features: M per view.
        gamma: one number or one per view; None is 1 / (d x mean variance) of the rows drawn as landmarks.
        shrinkage: c of the CCA in feature space, one number or one per view.
        seed: of the landmarks or frequencies.

    Attributes, after fitting:
        cca_: the linear CCA of the features, with its singular values, correlations and weights.
    """

    cca_: CCA

    def __init__(
        self,
        n_components: int = 2,
        *,
        approximation: str = "nystroem",
        features: int = 512,
        gamma: float | Sequence[float] | None = None,
        shrinkage: PerView = 0.1,
        seed: int = 0,
    ) -> None:
        self.n_components = n_components
        self.approximation = approximation
        self.features = features
        self.gamma = gamma
        self.shrinkage = shrinkage
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit on two views, [X, Y] or X and y, (N, d_v), NumPy or torch.

        Raises:
            InputError: not two views of equal rows, NaN, or impossible settings.
        """
        views = [torch.as_tensor(view) for view in self._views(X, y, reset=True)]
        if len(views) != 2 or len(views[0]) != len(views[1]):
            raise InputError(f"views have shapes {[tuple(view.shape) for view in views]}; expected two of equal rows")

        def blocks() -> Iterator[list[Tensor]]:
            for start in range(0, len(views[0]), _BLOCK):
                yield [view[start : start + _BLOCK] for view in views]

        return self._fit_blocks(blocks, blocks, len(views[0]), views[0].device)

    def fit_streamed(self, views: Sequence[Where], *, device: torch.device | str = "cpu") -> Self:
        """Fit on matrices on disk as `LinearEstimator.fit_streamed`; the files are read twice, first for the landmarks.

        Raises:
            InputError: as `fit`, or a file that is not such a matrix.
        """
        share = (rank(), world_size())
        rows = open_table(views[0]).rows
        return self._fit_blocks(lambda: read_blocks(views), lambda: read_blocks(views, share=share), rows, device)

    def project(self, view: Any, number: int) -> Any:
        """Return the scores (N, k) of the view with this number."""
        check_is_fitted(self, "cca_")
        rows = self._rows(view, number)
        tensor = torch.as_tensor(rows)
        map_, parts = self._maps[number], torch.split(tensor, _BLOCK)
        scores = torch.cat([self.cca_.project(map_(part), number) for part in parts]).to(tensor)
        return scores if isinstance(rows, Tensor) else scores.numpy()

    def _fit_blocks(
        self,
        everything: Callable[[], Iterator[Sequence[Tensor]]],
        own: Callable[[], Iterator[Sequence[Tensor]]],
        rows: int,
        device: torch.device | str,
    ) -> Self:
        if self.approximation not in ("nystroem", "fourier"):
            raise InputError(f"approximation is {self.approximation!r}; expected 'nystroem' or 'fourier'")
        if self.features < 1:
            raise InputError(f"features is {self.features}; expected one or more")
        if rows < 2:
            raise InputError(f"views have n_samples = {rows}, while a minimum of 2 is required")
        drawn = self._draw(everything(), rows, device)
        gammas = bandwidths(self.gamma, drawn)
        self._maps = [self._map(view, gamma, n) for n, (view, gamma) in enumerate(zip(drawn, gammas, strict=True))]
        dims = [self._maps[n](view[:1]).shape[1] for n, view in enumerate(drawn)]
        moments = Moments(dims, device)
        for block in own():
            moments.update([map_(view) for map_, view in zip(self._maps, block, strict=True)])
        self.cca_ = CCA(self.n_components, shrinkage=self.shrinkage).fit_moments(moments.reduced())
        self.correlations_, self.n_samples_ = self.cca_.correlations_, self.cca_.n_samples_
        self.n_features_in_ = drawn[0].shape[1]
        self.means_: list[Array] = [view.mean(0).cpu().numpy() for view in drawn]
        return self

    def _draw(self, blocks: Iterator[Sequence[Tensor]], rows: int, device: torch.device | str) -> list[Tensor]:
        """Return the rows drawn without replacement by the seed, float64 (M, d) per view."""
        order = uniform(make_key(self.seed), _ROWS, rows).argsort()
        chosen = order[: self.features].sort().values
        kept: list[list[Tensor]] = []
        start = 0
        for block in blocks:
            inside = chosen[(chosen >= start) & (chosen < start + len(block[0]))] - start
            kept.append([view[inside.to(view.device)].to(device, torch.float64) for view in block])
            start += len(block[0])
        drawn = [torch.cat(parts) for parts in zip(*kept, strict=True)]
        if not all(bool(torch.isfinite(view.sum())) for view in drawn):
            raise InputError("Input X contains NaN or infinity; leave such rows out")
        return drawn

    def _map(self, drawn: Tensor, gamma: float, number: int) -> NystroemMap | FourierMap:
        if self.approximation == "nystroem":
            own = kernel_matrix(drawn, drawn, gamma)
            return NystroemMap(drawn, whitener(own), gamma)
        key = make_key(self.seed, number)
        frequencies = normal(key, _FREQUENCIES, drawn.shape[1], self.features).to(drawn) * math.sqrt(2 * gamma)
        phases = uniform(key, _PHASES, self.features).to(drawn) * (2 * math.pi)
        return FourierMap(frequencies, phases, drawn.mean(0))

    @property
    def _n_features_out(self) -> int:
        return self.n_components
