"""Canonical correlation analysis, plain or regularised, of two views.

Hotelling 1936; ridge: Vinod 1976. With Xc, Yc centred and covariances divided by N - 1, k pairs of directions

    maximise tr(Wx' C12 Wy)   subject to   Wx' C11 Wx = Wy' C22 Wy = I
    C11 = Xc'Xc/(N-1) + r I          ridge form, r >= 0 in the units of the data squared
    C11 = (1-c) Xc'Xc/(N-1) + c I    shrinkage form, 0 <= c <= 1; c = 1 in both views is PLS by SVD

(C22 likewise, C12 never regularised.) With whiteners Rx' C11 Rx = I and the thin SVD Rx' C12 Ry = U S V': Wx = Rx U,
Wy = Ry V. The two forms share directions where r = c / (1 - c), but not S, which in the shrinkage form may exceed 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from coview.correlation.estimator import LinearEstimator
from coview.correlation.linalg import positive_signs, whitener
from coview.correlation.moments import Array, Moments, TooFewRowsError
from coview.errors import InputError

PerView = float | Sequence[float]


class CCA(LinearEstimator):
    """Canonical correlation analysis of two views; see the module's equations.

    Args:
        n_components: k, at most the smaller rank of the two views.
        ridge: r added to the covariance's diagonal, one number or one per view.
        shrinkage: c of the shrinkage form, one number or one per view; not together with ridge.
        missing: "complete" or "likelihood", what rows without a view are used for (`gaussian.joint_gaussian`).

    Attributes, after fitting, besides those of `LinearEstimator`:
        singular_values_: (k,) S. Equal to `correlations_` without regularisation only.
        spectrum_: all of S.
        ranks_: of the two views; below their columns where some are dependent or constant.

    Component by component the entry of largest magnitude of the first view's weights is positive.
    """

    singular_values_: Array
    spectrum_: Array
    ranks_: tuple[int, int]

    def __init__(
        self,
        n_components: int = 2,
        *,
        ridge: PerView = 0.0,
        shrinkage: PerView = 0.0,
        missing: str = "complete",
    ) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.shrinkage = shrinkage
        self.missing = missing

    def _solve(self, mean: Tensor, covariance: Tensor, slices: Sequence[slice]) -> list[Tensor]:
        x, y = slices
        left, right = (
            whitener(regularise(covariance[v, v], r, c), mean[v])
            for v, r, c in zip(slices, *per_view(self.ridge, self.shrinkage, 2), strict=True)
        )
        self.ranks_ = (left.shape[1], right.shape[1])
        weights, spectrum = canonical_pair(left, covariance[x, y], right, self.n_components)
        self.spectrum_ = spectrum.numpy()
        self.singular_values_ = self.spectrum_[: self.n_components]
        return weights

    def _check_settings(self, moments: Moments) -> None:
        super()._check_settings(moments)
        per_view(self.ridge, self.shrinkage, len(moments.dims))
        if len(moments.dims) != 2:
            raise InputError(f"{len(moments.dims)} views; CCA takes two, use GCCA or MCCA for more")
        if self.n_components > min(moments.dims):
            raise InputError(
                f"n_components is {self.n_components}, but the views have {list(moments.dims)} columns; "
                f"expected at most {min(moments.dims)}"
            )

    def _regularised(self) -> bool:
        ridges, shrinkages = per_view(self.ridge, self.shrinkage, 2)
        return any(ridges) or any(shrinkages)


def canonical_pair(left: Tensor, cross: Tensor, right: Tensor, components: int) -> tuple[list[Tensor], Tensor]:
    """Return the weights [(d1, k), (d2, k)] and all singular values, from whiteners (d, rank) and C12 (d1, d2).

    Raises:
        TooFewRowsError: `components` exceeds the smaller rank.
    """
    limit = min(left.shape[1], right.shape[1])
    if components > limit:
        raise TooFewRowsError(
            f"components is {components}, but the views have ranks {left.shape[1]} and {right.shape[1]} only; "
            f"expected at most {limit}"
        )
    u, s, vt = torch.linalg.svd(left.T @ cross @ right, full_matrices=False)
    first, second = left @ u[:, :components], right @ vt[:components].T
    signs = positive_signs(first)
    return [first * signs, second * signs], s


def regularise(covariance: Tensor, ridge: float, shrinkage: float) -> Tensor:
    """Return (1 - shrinkage) C + (ridge + shrinkage) I for C (d, d)."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return (1 - shrinkage) * covariance + (ridge + shrinkage) * identity


def per_view(ridge: PerView, shrinkage: PerView, views: int) -> tuple[list[float], list[float]]:
    """Return ridge and shrinkage of every view.

    Raises:
        InputError: wrong ranges, another number of values than views, or both at once.
    """
    both = []
    for name, value, highest in (("ridge", ridge, float("inf")), ("shrinkage", shrinkage, 1.0)):
        values = [float(v) for v in value] if isinstance(value, Sequence) else [float(value)] * views
        if len(values) != views or not all(0 <= v <= highest and v < float("inf") for v in values):
            raise InputError(f"{name} is {value!r}; expected one number in [0, {highest}], or one for each view")
        both.append(values)
    if any(both[0]) and any(both[1]):
        raise InputError("ridge and shrinkage are two forms of one thing; set one of them to 0")
    return both[0], both[1]
