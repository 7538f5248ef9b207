"""Robust CCA: gross errors are taken out of both views before they are correlated.

Nicolaou, Panagakis, Zafeiriou & Pantic, ICASSP 2014. Two forms:

    projection   min |P|_* + |Q|_* + l (|E_x|_1 + |E_y|_1) + mu/2 |X P' - Y Q'|_F^2,   X = X P' + E_x,  Y = Y Q' + E_y
    joint        min |[L_x L_y]|_* + l |[E_x E_y]|_1,                                  X = L_x + E_x,  Y = L_y + E_y

and then ridge CCA of the clean parts. Both are reconstructions: "projection" from the paper's idea, "joint" as robust
principal component analysis of the views side by side, where shared directions cost rank once. "joint" is the default:
X P' still multiplies the corrupted X, so the projection form cannot repair isolated bad cells, and recovers little.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Self, TypedDict

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from coview.correlation.cca import CCA
from coview.correlation.lowrank import explain, project_jointly, separate
from coview.correlation.moments import Array
from coview.correlation.projection import Projection, two_views
from coview.errors import InputError

_MAD = 1.4826  # of a normal distribution: the deviation is so many median absolute deviations


class RobustCCA(Projection):
    """CCA of two views after separating gross errors; see the module's equations.

    Columns are first centred by the median and divided by 1.4826 times the median absolute deviation (by the standard
    deviation where that is 0).

    Args:
        n_components: k.
        form: "joint" or "projection"; the latter needs views of one dimension.
        sparsity: l; None is 1 / sqrt(max(d1 + d2, N)).
        coupling: mu of the projection form.
        ridge: of the CCA on the clean parts, in the units of the scaled columns; small singular values stay in them.
        energy: share of the clean parts' squares that the basis kept for `clean` explains.
        tolerance: residuals, relative to the norm of the views, at which the iteration ends.
        max_iter: iterations at most; a ConvergenceWarning says when that was not enough.

    Attributes, after fitting, besides those of `Projection`:
        clean_: clean parts of the training views, in their own units, (N, d_v) float64.
        errors_: gross errors taken out, likewise.
        singular_values_: (k,) of the ridge CCA.
        history_: (n_iter_, 2) relative residuals of the constraint and of the dual.

    `transform` applies the linear maps alone: for "joint" those of the CCA, for "projection" those after P and Q. Rows
    not seen in training can be freed of gross errors by `clean` first.
    """

    clean_: list[Array]
    errors_: list[Array]
    singular_values_: Array
    history_: Array
    n_iter_: int

    def __init__(
        self,
        n_components: int = 2,
        *,
        form: str = "joint",
        sparsity: float | None = None,
        coupling: float = 0.1,
        ridge: float = 1e-3,
        energy: float = 0.999,
        tolerance: float = 1e-6,
        max_iter: int = 5000,
    ) -> None:
        self.n_components = n_components
        self.form = form
        self.sparsity = sparsity
        self.coupling = coupling
        self.ridge = ridge
        self.energy = energy
        self.tolerance = tolerance
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit on two views, [X, Y] or X and y, (N, d_v), NumPy or torch.

        Raises:
            InputError: not two views of equal rows, NaN, or impossible settings.
        """
        self._check_components()
        if self.form not in ("joint", "projection"):
            raise InputError(f"form is {self.form!r}; expected 'joint' or 'projection'")
        views = two_views(self._views(X, y, reset=True))
        rows, dims = len(views[0]), [view.shape[1] for view in views]
        if self.form == "projection" and dims[0] != dims[1]:
            raise InputError(f"views have {dims} columns; the projection form needs equal ones: reduce both by PCA")
        centres, scales = zip(*(_robust_scale(view) for view in views), strict=True)
        scaled = [(view - c) / s for view, c, s in zip(views, centres, scales, strict=True)]
        sparsity = self.sparsity if self.sparsity is not None else 1 / math.sqrt(max(sum(dims), rows))
        clean, errors, maps, history = self._separated(scaled, sparsity)
        if float(history[-1].max()) >= self.tolerance:
            warnings.warn(
                f"residuals are {history[-1].tolist()} after {self.max_iter} iterations, above {self.tolerance}: "
                "raise max_iter or tolerance",
                ConvergenceWarning,
                stacklevel=2,
            )
        inner = CCA(self.n_components, ridge=self.ridge).fit([part.cpu() for part in clean])
        self.singular_values_, self.n_samples_ = inner.singular_values_, rows
        self.n_features_in_ = dims[0]
        self.correlations_ = inner.correlations_
        back = [(s.cpu().numpy(), c.cpu().numpy()) for s, c in zip(scales, centres, strict=True)]
        self.weights_ = [(m @ w) / s[:, None] for m, w, (s, _) in zip(maps, inner.weights_, back, strict=True)]
        # Scores are those of the inner CCA: ((x - c) / s) M W - mean W, and M leaves the clean part's mean as it is.
        self.means_ = [c + s * mean for mean, (s, c) in zip(inner.means_, back, strict=True)]
        self.clean_ = [part.cpu().numpy() * s + c for part, (s, c) in zip(clean, back, strict=True)]
        self.errors_ = [part.cpu().numpy() * s for part, (s, _) in zip(errors, back, strict=True)]
        self.history_, self.n_iter_ = history.numpy(), len(history)
        self._centre, self._scale = np.concatenate([c for _, c in back]), np.concatenate([s for s, _ in back])
        self._basis = _basis(torch.cat(clean, dim=1), self.energy)
        return self

    def clean(self, X: Any, y: Any = None) -> list[Array]:
        """Return new rows without gross errors: the nearest points, in absolute differences, of the recovered subspace.

        Raises:
            InputError: not two views, with the columns of the training views.
        """
        check_is_fitted(self, "weights_")
        views = [torch.as_tensor(view).double().cpu() for view in self._views(X, y, reset=False)]
        if [view.shape[1] for view in views] != [len(mean) for mean in self.means_]:
            raise InputError(f"views have {[view.shape[1] for view in views]} columns; expected those of the fit")
        joined = (torch.cat(views, dim=1) - torch.from_numpy(self._centre)) / torch.from_numpy(self._scale)
        explained = explain(joined, self._basis).numpy() * self._scale + self._centre
        return [explained[:, : len(self.means_[0])], explained[:, len(self.means_[0]) :]]

    def _separated(
        self, views: list[Tensor], sparsity: float
    ) -> tuple[list[Tensor], list[Tensor], list[Array], Tensor]:
        """Return clean parts, errors, the maps on columns that made them (d, d), and the history."""
        limits = _Limits(tolerance=self.tolerance, max_iter=self.max_iter)
        if self.form == "projection":
            found = project_jointly(views[0], views[1], (sparsity, sparsity), self.coupling, **limits)
            clean = [view @ map_.T for view, map_ in zip(views, found.maps, strict=True)]
            return clean, list(found.errors), [map_.T.cpu().numpy() for map_ in found.maps], found.history
        whole = separate(torch.cat(views, dim=1), sparsity, **limits)
        widths = [view.shape[1] for view in views]
        clean, errors = (list(torch.split(part, widths, 1)) for part in (whole.low_rank, whole.errors))
        return clean, errors, [np.eye(width) for width in widths], whole.history


class _Limits(TypedDict):
    tolerance: float
    max_iter: int


def _robust_scale(view: Tensor) -> tuple[Tensor, Tensor]:
    """Return the median and a robust deviation (d,) of every column; 1 for a constant one."""
    centre = _median(view)
    scale = _MAD * _median((view - centre).abs())
    scale = torch.where(scale > 0, scale, view.std(0))
    return centre, torch.where(scale > 0, scale, torch.ones_like(scale))


def _median(view: Tensor) -> Tensor:
    """Return the median (d,); torch's own is the lower of the two middle numbers, which is not that of -view."""
    return (view.median(0).values - (-view).median(0).values) / 2


def _basis(clean: Tensor, energy: float) -> Tensor:
    """Return the directions (D, r) that hold this share of the squares of clean (N, D), on the CPU."""
    values, vectors = torch.linalg.eigh((clean.T @ clean).cpu())
    shares = values.flip(0).cumsum(0) / values.sum()
    basis: Tensor = vectors.flip(1)[:, : int((shares < energy).sum()) + 1]
    return basis
