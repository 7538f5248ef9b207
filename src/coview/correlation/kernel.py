"""Kernel CCA of two views: exact for thousands of rows, by features of the kernel for any number.

With doubly centred kernels K = U diag(lambda) U' of the training rows and gains g(lambda) in every view,

    T = diag(g_x) Ux' Uy diag(g_y) = A S B',   scores of training rows = sqrt(N-1) Ux diag(g_x) A

    shrinkage     g^2 = (lambda/(N-1)) / ((1-c) lambda/(N-1) + c), exactly shrinkage CCA in feature space
    Bach-Jordan   g = lambda / (lambda + N kappa / 2)        (Bach & Jordan 2002, within-view (K + N kappa/2 I)^2)

Without regularisation a Gaussian kernel correlates any two sets of data perfectly. For many rows see
`kernel_features`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from coview.correlation.cca import PerView, per_view
from coview.correlation.linalg import positive_signs
from coview.correlation.moments import Array
from coview.correlation.projection import Projection, correlations_of, two_views
from coview.errors import InputError

_ZERO = 1e-12  # eigenvalues of a centred kernel below this share of the largest are rounding


class KernelCCA(Projection):
    """Exact kernel CCA of two views; memory N^2 per view, time N^3. See the module's equations.

    Args:
        n_components: k.
        kernel: "rbf", exp(-gamma |x - y|^2), or "linear".
        gamma: one number or one per view; None is 1 / (d x mean variance of the view's columns).
        shrinkage: c of the shrinkage form, one number or one per view.
        kappa: when given, Bach and Jordan's form with this kappa, and shrinkage is not used.

    Attributes, after fitting:
        singular_values_: (k,) S; correlations_: (k,) of the training scores.
        duals_: coefficients (N, k) of the centred kernel, per view, float64.
    """

    singular_values_: Array
    duals_: list[Array]

    def __init__(
        self,
        n_components: int = 2,
        *,
        kernel: str = "rbf",
        gamma: float | Sequence[float] | None = None,
        shrinkage: PerView = 0.1,
        kappa: float | None = None,
    ) -> None:
        self.n_components = n_components
        self.kernel = kernel
        self.gamma = gamma
        self.shrinkage = shrinkage
        self.kappa = kappa

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit on two views, [X, Y] or X and y, (N, d_v), NumPy or torch.

        Raises:
            InputError: not two views of equal rows, NaN, or impossible settings.
        """
        self._check_components()
        if self.kernel not in ("rbf", "linear"):
            raise InputError(f"kernel is {self.kernel!r}; expected 'rbf' or 'linear'")
        _, shrinkage = per_view(0.0, self.shrinkage, 2)
        views = two_views(self._views(X, y, reset=True))
        gammas = bandwidths(self.gamma, views)
        count, parts, self._training, self._centres = len(views[0]), [], views, []
        for view, gamma, c in zip(views, gammas, shrinkage, strict=True):
            kernel = kernel_matrix(view, view, gamma if self.kernel == "rbf" else None)
            columns = kernel.mean(0)
            self._centres.append((columns, columns.mean(), gamma))
            values, vectors = torch.linalg.eigh(_centred(kernel, columns, columns.mean()))
            kept = values > _ZERO * values[-1]
            values, vectors = values[kept], vectors[:, kept]
            if self.kappa is not None:
                gain = values / (values + count * self.kappa / 2)
            else:
                spread = values / (count - 1)
                gain = (spread / ((1 - c) * spread + c)).sqrt()
            parts.append((vectors * gain, vectors * (gain / values)))
        limit = min(part[0].shape[1] for part in parts)
        if self.n_components > limit:
            raise InputError(f"n_components is {self.n_components}; kernels of these rows have rank {limit} at most")
        u, s, vt = torch.linalg.svd(parts[0][0].T @ parts[1][0], full_matrices=False)
        turns = [u[:, : self.n_components], vt[: self.n_components].T]
        scores = [part[0] @ turn * (count - 1) ** 0.5 for part, turn in zip(parts, turns, strict=True)]
        duals = [part[1] @ turn * (count - 1) ** 0.5 for part, turn in zip(parts, turns, strict=True)]
        signs = positive_signs(duals[0])
        self.duals_ = [(dual * signs).cpu().numpy() for dual in duals]
        self.singular_values_ = s[: self.n_components].cpu().numpy()
        self.correlations_ = correlations_of(scores)
        self.n_samples_, self.n_features_in_ = count, views[0].shape[1]
        self.means_ = [view.mean(0).cpu().numpy() for view in views]
        return self

    def project(self, view: Any, number: int) -> Any:
        """Return the scores (N, k) of rows of the view with this number, centred as the training kernel was."""
        check_is_fitted(self, "duals_")
        rows = self._rows(view, number)
        tensor = torch.as_tensor(rows)
        columns, total, gamma = self._centres[number]
        kernel = kernel_matrix(tensor.to(columns), self._training[number], gamma if self.kernel == "rbf" else None)
        scores = _centred(kernel, columns, total) @ torch.from_numpy(self.duals_[number]).to(columns)
        scores = scores.to(tensor)
        return scores if isinstance(rows, Tensor) else scores.numpy()

    @property
    def _n_features_out(self) -> int:
        return self.n_components


def bandwidths(gamma: float | Sequence[float] | None, views: Sequence[Tensor]) -> list[float]:
    """Return gamma of every view; None is 1 / (d x mean variance).

    Raises:
        InputError: not one positive number per view.
    """
    if gamma is None:
        return [1 / max(float(view.var(0).sum()), torch.finfo(torch.float64).tiny) for view in views]
    values = [float(g) for g in gamma] if isinstance(gamma, Sequence) else [float(gamma)] * len(views)
    if len(values) != len(views) or min(values) <= 0:
        raise InputError(f"gamma is {gamma!r}; expected one number above 0, or one for each view")
    return values


def kernel_matrix(rows: Tensor, others: Tensor, gamma: float | None) -> Tensor:
    """Return exp(-gamma |x - y|^2), or x'y where gamma is None, for rows (N, d) and others (M, d): (N, M)."""
    if gamma is None:
        return rows @ others.T
    squares = rows.square().sum(1)[:, None] + others.square().sum(1) - 2 * rows @ others.T
    return torch.exp(-gamma * squares.clamp(min=0))


def _centred(kernel: Tensor, columns: Tensor, total: Tensor) -> Tensor:
    """Centre rows of a kernel (N, M) in feature space, by the training kernel's column means (M,) and their mean."""
    return kernel - kernel.mean(1, keepdim=True) - columns + total
