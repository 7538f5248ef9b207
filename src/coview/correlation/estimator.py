"""What the linear estimators share: scikit-learn's conventions, checking of views, moments in, projections out.

An estimator turns joint moments into one weight matrix per view (`_solve`); how the rows arrived (`fit`, `partial_fit`,
`fit_streamed`, `fit_moments` on any number of processes) makes no difference to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from coview.correlation.gaussian import joint_gaussian
from coview.correlation.moments import Array, Moments
from coview.errors import InputError

Views = Sequence[Any]


class LinearEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Linear maps of paired views, fitted from their joint moments.

    Views are given as a list, `fit([X, Y, ...])`, or as scikit-learn gives two, `fit(X, Y)`: arrays (N, d_v), NumPy or
    torch, on any device; what comes in as a tensor leaves as a tensor.

    Attributes, after fitting:
        weights_: one (d_v, k) float64 array per view.
        means_: one (d_v,) float64 array per view; `transform` subtracts it.
        correlations_: (k,) Pearson correlations of the training scores, averaged over pairs of views.
        n_samples_: rows the fit rests on.
        moments_: the sufficient statistics, which `partial_fit` goes on adding to.
    """

    components: int
    missing: str
    weights_: list[Array]
    means_: list[Array]
    correlations_: Array
    moments_: Moments

    def _solve(self, mean: Tensor, covariance: Tensor, slices: Sequence[slice]) -> list[Tensor]:
        """Return the weights of every view, (d_v, k), from the joint mean (D,) and covariance (D, D)."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any = None, *, present: Sequence[Any] | None = None) -> Self:
        """Fit on views in memory.

        Args:
            X: a list of views, or the first of two.
            y: the second view where X is an array; (N,) counts as one column.
            present: one boolean (N,) per view, false where the row lacks it (its numbers are not read).

        Raises:
            InputError: views that do not fit together, NaN in rows that are present, impossible settings.
        """
        if hasattr(self, "moments_"):
            del self.moments_
        return self.partial_fit(X, y, present=present)

    def partial_fit(self, X: Any, y: Any = None, *, present: Sequence[Any] | None = None) -> Self:
        """Take in further rows and fit again; the result is that of `fit` on all rows at once. Arguments as there."""
        views = self._views(X, y, reset=not hasattr(self, "moments_"))
        if not hasattr(self, "moments_"):
            device = views[0].device if isinstance(views[0], Tensor) else "cpu"
            self.moments_ = Moments([view.shape[1] for view in views], device)
        self.moments_.update(views, present)
        return self.fit_moments(self.moments_)

    def fit_streamed(self, blocks: Iterable[Sequence[Any]]) -> Self:
        """Fit on blocks of rows that are never together in memory, such as those of `blocks.read_blocks`.

        With a process group every process passes its own blocks, and all get the fit on all rows.
        """
        moments: Moments | None = None
        for views in blocks:
            moments = moments or Moments([view.shape[1] for view in views])
            moments.update(views)
        if moments is None:
            raise InputError("there is no block of rows to fit on; every process needs one at least")
        return self.fit_moments(moments.reduced())

    def fit_moments(self, moments: Moments) -> Self:
        """Fit from moments gathered elsewhere, for instance `Moments.reduced` over processes.

        Raises:
            InputError: fewer than two rows, or impossible settings.
        """
        self._check_settings(moments)
        count, mean, covariance = joint_gaussian(moments, self.missing)
        if count < 2:
            raise InputError(f"Found array with {count} sample(s) that have all views while a minimum of 2 is required")
        mean, covariance = mean.cpu(), covariance.cpu()  # only D^2 numbers move, and LAPACK is at home there
        slices = moments.slices
        if count <= max(moments.dims) and not self._regularised():
            warnings.warn(
                f"{count} rows for views of {list(moments.dims)} columns: training correlations are 1 whatever the "
                "data; use more rows, or ridge or shrinkage",
                RuntimeWarning,
                stacklevel=2,
            )
        weights = self._solve(mean, covariance, slices)
        self.moments_ = moments
        self.n_samples_ = count
        self.n_features_in_ = moments.dims[0]
        self.weights_ = [weight.numpy() for weight in weights]
        self.means_ = [mean[columns].numpy().copy() for columns in slices]
        self.correlations_ = _score_correlations(weights, covariance, slices)
        return self

    def transform(self, X: Any, y: Any = None) -> Any:
        """Return the scores (N, k): of one view for an array, (X scores, y scores) for two, a list for a list.

        An array alone is the first view; a list may hold None where a view is absent.
        """
        check_is_fitted(self, "weights_")
        if _is_list_of_views(X) and y is None:
            if len(X) != len(self.weights_):
                raise InputError(f"{len(X)} views, but {type(self).__name__} was fitted on {len(self.weights_)}")
            return [None if view is None else self.project(view, number) for number, view in enumerate(X)]
        if y is None:
            return self.project(X, 0)
        return self.project(X, 0), self.project(y, 1)

    def project(self, view: Any, number: int) -> Any:
        """Return the scores (N, k) of the view with this number, (x - mean) W."""
        check_is_fitted(self, "weights_")
        if number == 0 and not isinstance(view, Tensor):
            array = validate_data(self, view, dtype=[np.float64, np.float32], reset=False)
        else:
            array = _checked(view, f"view {number}")
        if array.shape[1] != len(self.means_[number]):
            raise InputError(
                f"view {number} has {array.shape[1]} features, but {type(self).__name__} is expecting "
                f"{len(self.means_[number])} features as input"
            )
        if isinstance(array, Tensor):
            weight, mean = (torch.from_numpy(a[number]).to(array.device) for a in (self.weights_, self.means_))
            return ((array.double() - mean) @ weight).to(array.dtype)
        return ((array - self.means_[number]) @ self.weights_[number]).astype(array.dtype, copy=False)

    def held_out_correlations(self, X: Any, y: Any = None) -> Array:
        """Return the Pearson correlations (k,) of the scores of these rows, averaged over pairs of views."""
        scores = self.transform(X, y)
        moments = Moments([score.shape[1] for score in scores])
        moments.update(scores)
        identity = [torch.eye(dim, dtype=torch.float64) for dim in moments.dims]
        return _score_correlations(identity, moments.covariance(), moments.slices)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of the `held_out_correlations`: 1 is perfect, 0 chance."""
        return float(self.held_out_correlations(X, y).mean())

    def _views(self, X: Any, y: Any, reset: bool) -> list[Any]:
        if _is_list_of_views(X) and y is None:
            if len(X) < 2:
                raise InputError("one view only; expected two or more, as a list")
            views = [_checked(view, f"view {number}") for number, view in enumerate(X)]
        elif y is None:
            raise InputError(
                f"{type(self).__name__} requires y to be passed, but the target y is None: give two views, "
                "fit(X, Y), or a list of them"
            )
        elif isinstance(X, Tensor) or isinstance(y, Tensor):
            views = [_checked(X, "view 0"), _checked(y, "view 1")]
        else:
            # NaN is found by the moments, without a pass of its own over the rows.
            first = validate_data(
                self, X, dtype=[np.float64, np.float32], ensure_all_finite=False, ensure_min_samples=1, reset=reset
            )
            views = [first, _checked(y, "y")]
            check_consistent_length(*views)
        if not reset and tuple(view.shape[1] for view in views) != self.moments_.dims:
            raise InputError(f"views have {[v.shape[1] for v in views]} columns, before {list(self.moments_.dims)}")
        return views

    def _check_settings(self, moments: Moments) -> None:
        if not isinstance(self.components, (int, np.integer)) or self.components < 1:
            raise InputError(f"components is {self.components!r}; expected a whole number from 1 on")

    def _regularised(self) -> bool:
        return False

    @property
    def _n_features_out(self) -> int:
        return cast(int, self.weights_[0].shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _is_list_of_views(X: Any) -> bool:
    """A list of tables is a list of views; a list of rows (whose items have one dimension) is a table."""
    return isinstance(X, (list, tuple)) and any(getattr(view, "ndim", 0) == 2 for view in X)


def _checked(view: Any, name: str) -> Any:
    """Return a view as a floating (N, d) tensor, or array; raises a ValueError that says what is wrong."""
    if isinstance(view, Tensor):
        if view.ndim != 2:
            raise InputError(f"{name} has shape {tuple(view.shape)}; expected (rows, columns)")
        return view if view.is_floating_point() else view.double()
    array = check_array(
        view,
        dtype=[np.float64, np.float32],
        ensure_2d=False,
        ensure_all_finite=False,
        allow_nd=False,
        input_name=name,
    )
    return array.reshape(-1, 1) if array.ndim == 1 else array


def _score_correlations(weights: Sequence[Tensor], covariance: Tensor, slices: Sequence[slice]) -> Array:
    """Return the correlations (k,) of the projections, averaged over pairs of views; 0 where a score is constant."""
    deviations = [
        torch.einsum("ik,ij,jk->k", weight, covariance[columns, columns], weight).clamp(min=0).sqrt()
        for weight, columns in zip(weights, slices, strict=True)
    ]
    pairs = []
    for first in range(len(weights)):
        for second in range(first + 1, len(weights)):
            cross = covariance[slices[first], slices[second]]
            shared = torch.einsum("ik,ij,jk->k", weights[first], cross, weights[second])
            scale = deviations[first] * deviations[second]
            pairs.append(torch.where(scale > 0, shared / torch.where(scale > 0, scale, 1.0), 0.0))
    return torch.stack(pairs).mean(0).numpy()
