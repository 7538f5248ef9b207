"""Supervised CCA of two views: cluster-CCA, its mixture with pairs, and the strict form.

Cluster-CCA: Rasiwasia, Mahajan, Mahadevan & Aggarwal, AISTATS 2014. Mixture: Zeng, Yu & Oyama, ISM 2018 (arXiv
1908.03744). Over classes c of n_c rows, with means mu_c of the globally centred views:

    C12 = beta Xc'Yc/(N-1) + (1 - beta) sum_c n_c^2 mu_x,c mu_y,c' / sum_c n_c^2

the second term being the mean over all pairs (i, j) of one class, in O(N). C11 and C22 are as in `cca`; in the strict
form they are means over the same pairs as well, sum_c n_c sum_{i in c} x_i x_i' / sum_c n_c^2 (a reconstruction from
the definition, not in the published code). The singular values are no correlations here; `held_out_correlations` are.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_array, column_or_1d
from torch import Tensor

from coview.correlation.cca import PerView, canonical_pair, per_view, regularise
from coview.correlation.linalg import whitener
from coview.correlation.moments import Array, Moments
from coview.correlation.projection import Projection
from coview.errors import InputError

_BLOCK = 4096  # rows centred at a time


class ClusterCCA(Projection):
    """Supervised CCA of two views, `fit([X, Y], labels)`; see the module's equations.

    Args:
        n_components: k.
        beta: share of the pairs; 1 is CCA, 0 is cluster-CCA, which does not see who is whose partner in a class.
        ridge, shrinkage: as in `cca.CCA`; the published code's ridge is 1e-4.
        strict: covariances within views over pairs of a class too.

    Attributes, after fitting, besides those of `Projection`:
        singular_values_: (k,), which need not be correlations; spectrum_: all of them.
        classes_: labels seen, sorted.
    """

    singular_values_: Array
    spectrum_: Array
    classes_: Array

    def __init__(
        self,
        n_components: int = 2,
        *,
        beta: float = 0.2,
        ridge: PerView = 1e-4,
        shrinkage: PerView = 0.0,
        strict: bool = False,
    ) -> None:
        self.n_components = n_components
        self.beta = beta
        self.ridge = ridge
        self.shrinkage = shrinkage
        self.strict = strict

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit on two views with labels.

        Args:
            X: [X, Y], (N, d1) and (N, d2), NumPy or torch, rows that have both views.
            y: (N,) labels of any sortable kind.

        Raises:
            InputError: not two views, no labels or another number of them, NaN, or impossible settings.
        """
        forms = per_view(self.ridge, self.shrinkage, 2)
        self._check_components()
        if not 0 <= self.beta <= 1:
            raise InputError(f"beta is {self.beta!r}; expected a share in [0, 1]")
        if not isinstance(X, (list, tuple)) or len(X) != 2 or y is None:
            raise InputError("ClusterCCA takes two views and labels: fit([X, Y], labels)")
        views = [torch.as_tensor(view) for view in self._views(X, None, reset=True)]
        labels = column_or_1d(check_array(np.asarray(y), ensure_2d=False, dtype=None, input_name="y"))
        if len(labels) != len(views[0]) or len(labels) < 2:
            raise InputError(f"{len(labels)} labels for {len(views[0])} rows; expected one each, and two or more")
        self.classes_, codes = np.unique(labels, return_inverse=True)
        moments = Moments([view.shape[1] for view in views], views[0].device)
        moments.update(views)
        count, mean = moments.count, moments.complete.mean
        sums, weighted, sizes = _class_sums(views, mean, torch.from_numpy(codes), len(self.classes_), self.strict)
        x, y_ = moments.slices
        covariance = moments.covariance().cpu()
        pairs = float(sizes.square().sum())
        cross = self.beta * covariance[x, y_] + (1 - self.beta) * (sums[:, x].T @ sums[:, y_]) / pairs
        within = weighted / pairs if self.strict else covariance
        left, right = (
            whitener(regularise(within[v, v], r, c), mean.cpu()[v]) for v, r, c in zip((x, y_), *forms, strict=True)
        )
        weights, spectrum = canonical_pair(left, cross, right, self.n_components)
        self.spectrum_ = spectrum.numpy()
        self.singular_values_ = self.spectrum_[: self.n_components]
        self._keep(count, mean.cpu(), covariance, weights, (x, y_))
        return self


def _class_sums(
    views: list[Tensor], mean: Tensor, codes: Tensor, classes: int, strict: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return, on the CPU: centred rows' sums by class (C, D), sum_c n_c sum_i x_i x_i' (D, D) or 0, and n_c (C,)."""
    codes = codes.to(mean.device)
    sizes = torch.bincount(codes, minlength=classes).to(mean)
    sums, weighted = mean.new_zeros(classes, len(mean)), mean.new_zeros(len(mean), len(mean))
    for start in range(0, len(codes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        centred = torch.cat([view[rows].to(mean) for view in views], dim=1) - mean
        sums.index_add_(0, codes[rows], centred)
        if strict:
            weighted += centred.T @ (sizes[codes[rows], None] * centred)
    return sums.cpu(), weighted.cpu(), sizes.cpu()
