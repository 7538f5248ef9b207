"""Canonical correlation of two views or more: GCCA (MAXVAR) and MCCA (relaxed SUMCOR), Kettenring 1971.

With Xc_v centred, C_v = Xc_v'Xc_v/(N-1) regularised as in `cca`, whiteners R_v' C_v R_v = I, view weights mu_v:

    GCCA   maximise the eigenvalues of P = sum_v mu_v Xc_v C_v^-1 Xc_v' / (N-1)
           T = sqrt(N-1) x its top k eigenvectors (N, k),   W_v = C_v^-1 Xc_v' T / (N-1)
    MCCA   A w = lambda B w,  A the covariances between views (diagonal blocks 0),  B = block diagonal of the C_v

P is never formed: its non-zero eigenvalues are those of the blocks sqrt(mu_u mu_v) R_u' Cov(X_u, X_v) R_v, of size
sum of the ranks. Two views, not regularised: GCCA's eigenvalues are 1 + rho, MCCA's rho.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from coview.correlation.cca import PerView, per_view, regularise
from coview.correlation.estimator import LinearEstimator
from coview.correlation.linalg import positive_signs, whitener
from coview.correlation.moments import Array, Moments, TooFewRowsError
from coview.errors import InputError


class _Multiset(LinearEstimator):
    """What both have: a whitened joint covariance, of which the top eigenvectors are taken."""

    eigenvalues_: Array

    def __init__(
        self, n_components: int = 2, *, ridge: PerView = 0.0, shrinkage: PerView = 0.0, missing: str = "complete"
    ) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.shrinkage = shrinkage
        self.missing = missing

    def _whiteners(self, mean: Tensor, covariance: Tensor, slices: Sequence[slice]) -> list[Tensor]:
        forms = per_view(self.ridge, self.shrinkage, len(slices))
        return [whitener(regularise(covariance[v, v], r, c), mean[v]) for v, r, c in zip(slices, *forms, strict=True)]

    def _top(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        if self.n_components > len(matrix):
            raise TooFewRowsError(
                f"n_components is {self.n_components}, but the views have {len(matrix)} dimensions; expected fewer"
            )
        values, vectors = torch.linalg.eigh(matrix)
        return values.flip(0)[: self.n_components], vectors.flip(1)[:, : self.n_components]

    def _check_settings(self, moments: Moments) -> None:
        super()._check_settings(moments)
        per_view(self.ridge, self.shrinkage, len(moments.dims))
        if self.n_components > sum(moments.dims):
            raise InputError(
                f"n_components is {self.n_components}, but the views have {sum(moments.dims)} columns; expected fewer"
            )

    def _regularised(self) -> bool:
        return self.ridge != 0 or self.shrinkage != 0


class GCCA(_Multiset):
    """Generalised CCA by MAXVAR: a shared T (N, k) that all views can predict; see the module's equations.

    Args:
        n_components: k.
        ridge, shrinkage, missing: as in `cca.CCA`.
        view_weights: mu_v, one per view; None weighs all 1.

    Attributes, after fitting, besides those of `LinearEstimator`:
        eigenvalues_: (k,) of P, between 0 and the sum of mu_v.

    The mean of the scores, weighted by mu_v and divided by the eigenvalue, is T where nothing is regularised; use
    `shared`. Component by component the entry of largest magnitude of the first view's weights is positive.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        ridge: PerView = 0.0,
        shrinkage: PerView = 0.0,
        missing: str = "complete",
        view_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(n_components, ridge=ridge, shrinkage=shrinkage, missing=missing)
        self.view_weights = view_weights

    def shared(self, views: Sequence[Array | Tensor]) -> Array | Tensor:
        """Return T (N, k) of rows that have all views: sum_v mu_v (x_v - mean_v) W_v / eigenvalue."""
        mu = self.view_weights or [1.0] * len(self.weights_)
        scores = self.transform(list(views))
        total = sum(weight * score for weight, score in zip(mu, scores, strict=True))
        values = self.eigenvalues_
        shared: Array | Tensor = total / (torch.from_numpy(values).to(total) if isinstance(total, Tensor) else values)
        return shared

    def _solve(self, mean: Tensor, covariance: Tensor, slices: Sequence[slice]) -> list[Tensor]:
        whiteners = self._whiteners(mean, covariance, slices)
        mu = self.view_weights or [1.0] * len(slices)
        if len(mu) != len(slices) or min(mu) <= 0:
            raise InputError(f"view_weights is {self.view_weights!r}; expected {len(slices)} numbers above 0")
        joint = _side_by_side([weight**0.5 * root for weight, root in zip(mu, whiteners, strict=True)])
        values, vectors = self._top(joint.T @ covariance @ joint)
        # With eigenvectors z, T = sum_v sqrt(mu_v) Xc_v R_v z_v / sqrt(lambda); then W_u = R_u R_u' Cov(X_u, T).
        ties = covariance @ joint @ vectors * values.clamp(min=torch.finfo(values.dtype).tiny).rsqrt()
        weights = [root @ root.T @ ties[columns] for root, columns in zip(whiteners, slices, strict=True)]
        signs = positive_signs(weights[0])
        self.eigenvalues_ = values.numpy()
        return [weight * signs for weight in weights]


class MCCA(_Multiset):
    """Multi-set CCA, the relaxed sum of correlations; see the module's equations.

    Args:
        n_components, ridge, shrinkage, missing: as in `cca.CCA`.

    Attributes, after fitting, besides those of `LinearEstimator`:
        eigenvalues_: (k,) lambda; with two views and no regularisation, the canonical correlations.

    The problem constrains the sum of the views' variances; here every view's weights are then scaled so that
    w_v' C_v w_v = 1, as in CCA. The entry of largest magnitude of the first view's weights is positive.
    """

    def _solve(self, mean: Tensor, covariance: Tensor, slices: Sequence[slice]) -> list[Tensor]:
        whiteners = self._whiteners(mean, covariance, slices)
        between = covariance.clone()
        for columns in slices:
            between[columns, columns] = 0
        joint = _side_by_side(whiteners)
        values, vectors = self._top(joint.T @ between @ joint)
        weights, start = [], 0
        for root in whiteners:
            part = vectors[start : (start := start + root.shape[1])]
            weights.append(root @ torch.nn.functional.normalize(part, dim=0))
        signs = positive_signs(weights[0])
        self.eigenvalues_ = values.numpy()
        return [weight * signs for weight in weights]


def _side_by_side(blocks: Sequence[Tensor]) -> Tensor:
    joint: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return joint
