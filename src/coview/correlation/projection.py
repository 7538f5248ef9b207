"""Linear projections of paired views by scikit-learn's conventions: checks, scores, held-out correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from coview.correlation.moments import Array, Moments
from coview.errors import InputError


class Projection(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One fitted linear map per view.

    Views are given as a list, `[X, Y, ...]`, or as scikit-learn gives two, `(X, Y)`: arrays (N, d_v), NumPy or torch,
    on any device; what comes in as a tensor leaves as a tensor.

    Attributes, after fitting:
        weights_: one (d_v, k) float64 array per view.
        means_: one (d_v,) float64 array per view; `transform` subtracts it.
        correlations_: (k,) Pearson correlations of the training scores, averaged over pairs of views.
        n_samples_: rows the fit rests on.
    """

    n_components: int
    weights_: list[Array]
    means_: list[Array]
    correlations_: Array
    n_samples_: int

    def transform(self, X: Any, y: Any = None) -> Any:
        """Return the scores (N, k): of one view for an array, (X scores, y scores) for two, a list for a list.

        An array alone is the first view; a list may hold None where a view is absent.
        """
        check_is_fitted(self, "means_")
        if _is_list_of_views(X) and y is None:
            if len(X) != len(self.means_):
                raise InputError(f"{len(X)} views, but {type(self).__name__} was fitted on {len(self.means_)}")
            return [None if view is None else self.project(view, number) for number, view in enumerate(X)]
        if y is None:
            return self.project(X, 0)
        return self.project(X, 0), self.project(y, 1)

    def project(self, view: Any, number: int) -> Any:
        """Return the scores (N, k) of the view with this number, (x - mean) W."""
        check_is_fitted(self, "weights_")
        array = self._rows(view, number)
        if isinstance(array, Tensor):
            weight, mean = (torch.from_numpy(a[number]).to(array.device) for a in (self.weights_, self.means_))
            return ((array.double() - mean) @ weight).to(array.dtype)
        return ((array - self.means_[number]) @ self.weights_[number]).astype(array.dtype, copy=False)

    def held_out_correlations(self, X: Any, y: Any = None) -> Array:
        """Return the Pearson correlations (k,) of the scores of these rows, averaged over pairs of views."""
        return correlations_of(self.transform(X, y))

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of the `held_out_correlations`: 1 is perfect, 0 chance."""
        return float(self.held_out_correlations(X, y).mean())

    def _keep(
        self, count: int, mean: Tensor, covariance: Tensor, weights: Sequence[Tensor], slices: Sequence[slice]
    ) -> None:
        """Store the fit: weights per view, and joint mean (D,) and covariance (D, D) of what it was fitted on."""
        self.n_samples_ = count
        self.n_features_in_ = len(weights[0])
        self.weights_ = [weight.numpy() for weight in weights]
        self.means_ = [mean[columns].numpy().copy() for columns in slices]
        self.correlations_ = score_correlations(weights, covariance, slices)

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
        return views

    def _rows(self, view: Any, number: int) -> Any:
        """Return new rows of the view with this number, (N, d_v) floats, checked against the training view."""
        if number == 0 and not isinstance(view, Tensor):
            array = validate_data(self, view, dtype=[np.float64, np.float32], reset=False)
        else:
            array = _checked(view, f"view {number}")
        if array.shape[1] != len(self.means_[number]):
            raise InputError(
                f"view {number} has {array.shape[1]} features, but {type(self).__name__} is expecting "
                f"{len(self.means_[number])} features as input"
            )
        return array

    def _check_components(self) -> None:
        if not isinstance(self.n_components, (int, np.integer)) or self.n_components < 1:
            raise InputError(f"n_components is {self.n_components!r}; expected a whole number from 1 on")

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


def two_views(views: Sequence[Any]) -> list[Tensor]:
    """Return two views of equal rows in float64.

    Raises:
        InputError: another number of views, unequal rows, fewer than two, NaN.
    """
    tensors = [torch.as_tensor(view).double() for view in views]
    if len(tensors) != 2 or len(tensors[0]) != len(tensors[1]):
        raise InputError(f"views have shapes {[tuple(t.shape) for t in tensors]}; expected two views of the same rows")
    if len(tensors[0]) < 2:
        raise InputError(f"views have n_samples = {len(tensors[0])}, while a minimum of 2 is required")
    if not all(bool(torch.isfinite(tensor.sum())) for tensor in tensors):
        raise InputError("Input X contains NaN or infinity; leave such rows out")
    return tensors


def correlations_of(scores: Sequence[Tensor | Array]) -> Array:
    """Return the Pearson correlations (k,) of scores (N, k) of two views or more, averaged over pairs of views."""
    moments = Moments([score.shape[1] for score in scores])
    moments.update(scores)
    identity = [torch.eye(dim, dtype=torch.float64) for dim in moments.dims]
    return score_correlations(identity, moments.covariance(), moments.slices)


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


def score_correlations(weights: Sequence[Tensor], covariance: Tensor, slices: Sequence[slice]) -> Array:
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
