"""What the linear estimators share: moments in, projections out.

An estimator turns joint moments into one weight matrix per view (`_solve`); how the rows arrived (`fit`, `partial_fit`,
`fit_streamed`, `fit_moments` on any number of processes) makes no difference to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor

from coview.correlation.gaussian import joint_gaussian
from coview.correlation.moments import Moments, TooFewRowsError
from coview.correlation.projection import Projection
from coview.correlation.tables import Where, open_table, read_blocks
from coview.parallel import rank, world_size


class LinearEstimator(Projection):
    """A projection fitted from the joint moments of its views.

    Attributes, after fitting, besides those of `Projection`:
        moments_: the sufficient statistics, which `partial_fit` goes on adding to.
    """

    missing: str
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
        with self._all_or_nothing():
            self.__dict__.pop("moments_", None)
            return self.fit_moments(self._grown(X, y, present))

    def partial_fit(self, X: Any, y: Any = None, *, present: Sequence[Any] | None = None) -> Self:
        """Take in further rows and fit again; the result is that of `fit` on all rows at once. Arguments as there.

        Rows that do not yet determine a fit are kept: until enough have come, `transform` says that nothing is fitted.

        Raises:
            InputError: as `fit`; the estimator is then what it was before the call, and the next rows are taken in.
        """
        with self._all_or_nothing():
            moments = self._grown(X, y, present)
            try:
                return self.fit_moments(moments)
            except TooFewRowsError:
                if hasattr(self, "weights_"):
                    raise
                self.moments_ = moments
                return self

    def _grown(self, X: Any, y: Any, present: Sequence[Any] | None) -> Moments:
        """Return the moments of the rows so far and of these; what is kept is not touched."""
        views = self._views(X, y, reset=not hasattr(self, "moments_"))
        if hasattr(self, "moments_"):
            moments = self.moments_.copy()
        else:
            device = views[0].device if isinstance(views[0], Tensor) else "cpu"
            moments = Moments([view.shape[1] for view in views], device)
        moments.update(views, present)
        return moments

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Give every attribute back as it was where the fit fails."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def fit_streamed(self, views: Sequence[Where], *, device: torch.device | str = "cpu") -> Self:
        """Fit on matrices on disk, in blocks of rows: memory does not depend on their number.

        With a process group every process reads an even share of the rows, and all get the fit on all rows. A row of
        NaN throughout, or a null list in Parquet, lacks that view (see `missing`).

        Args:
            views: one .npy file, or (file, name) of a safetensors tensor or Parquet column, per view.
            device: where products are computed.

        Raises:
            InputError: as `fit`, or a file that is not such a matrix.
        """
        moments = Moments([open_table(view).dim for view in views], device)
        for block in read_blocks(views, share=(rank(), world_size())):
            absent = [_absent(view) for view in block]
            moments.update(block, [~rows for rows in absent] if any(bool(rows.any()) for rows in absent) else None)
        return self.fit_moments(moments.reduced())

    def fit_moments(self, moments: Moments) -> Self:
        """Fit from moments gathered elsewhere, for instance `Moments.reduced` over processes.

        Raises:
            InputError: fewer than two rows, or impossible settings.
        """
        with self._all_or_nothing():
            self._check_settings(moments)
            count, mean, covariance = joint_gaussian(moments, self.missing)
            if count < 2:
                found = f"Found array with {count} sample(s) that have all views"
                raise TooFewRowsError(f"{found} while a minimum of 2 is required")
            mean, covariance = mean.cpu(), covariance.cpu()  # only D^2 numbers move, and LAPACK is at home there
            slices = moments.slices
            if count <= max(moments.dims) and not self._regularised():
                warnings.warn(
                    f"{count} rows for views of {list(moments.dims)} columns: training correlations are 1 whatever the "
                    "data; use more rows, or ridge or shrinkage",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._keep(count, mean, covariance, self._solve(mean, covariance, slices), slices)
            self.moments_ = moments
        return self

    def _check_settings(self, moments: Moments) -> None:
        self._check_components()

    def _regularised(self) -> bool:
        return False


def _absent(view: Tensor) -> Tensor:
    """Return which rows (N,) of view (N, d) are NaN throughout; only those that begin with NaN are looked at."""
    rows = view[:, 0].isnan()
    rows[rows.clone()] = view[rows].isnan().all(1)
    return rows
