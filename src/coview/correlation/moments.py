"""The sufficient statistics of every linear method here: moments of V views, by which views a row has.

Rows that lack a view are kept apart by their pattern of presence, each with its own exact `Scatter`; nothing is filled
in. From the patterns follow the moments of complete rows and the likelihood estimate of `gaussian.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from coview.correlation.scatter import Scatter
from coview.errors import InputError
from coview.parallel import world_size

Array: TypeAlias = npt.NDArray[Any]
Pattern: TypeAlias = tuple[bool, ...]
_LARGEST = 1e150  # its square, summed over any number of rows, is a float64
_MAX_VIEWS = 16  # patterns of presence are agreed on by a vector of 2^V flags


class TooFewRowsError(InputError):
    """The rows so far do not determine a fit; further ones may."""


class Moments:
    """Counts, means and co-moments, float64, of V views with `dims` columns each.

    Args:
        dims: columns of every view, (d_1, ..., d_V).
        device: where the sums are kept and the products computed; blocks are moved there.

    Raises:
        InputError: less than one view, more than 16, or an empty one.
    """

    def __init__(self, dims: Sequence[int], device: torch.device | str = "cpu") -> None:
        if not 1 <= len(dims) <= _MAX_VIEWS or min(dims) < 1:
            raise InputError(f"views have {list(dims)} columns; expected 1 to {_MAX_VIEWS} views of one column or more")
        self.dims = tuple(dims)
        self.device = torch.device(device)
        self.patterns: dict[Pattern, Scatter] = {}

    @property
    def slices(self) -> list[slice]:
        """Where each view's columns lie in the joined matrix (D, D)."""
        ends = list(accumulate(self.dims))
        return [slice(end - dim, end) for end, dim in zip(ends, self.dims, strict=True)]

    @property
    def count(self) -> int:
        """Rows that have every view."""
        return self.complete.count

    @property
    def complete(self) -> Scatter:
        """The joined scatter of the rows that have every view."""
        return self.patterns.get((True,) * len(self.dims)) or Scatter(sum(self.dims), self.device)

    @property
    def means(self) -> list[Tensor]:
        """The mean of every view, (d_v,), over complete rows."""
        return [self.complete.mean[columns] for columns in self.slices]

    def covariance(self) -> Tensor:
        """Return the joined covariance (D, D) of complete rows, divisor N - 1."""
        complete = self.complete
        return complete.scatter / max(complete.count - 1, 1)

    def columns(self, pattern: Pattern) -> Tensor:
        """Return the indices of the joined columns that a pattern of presence has, int64."""
        chosen = [torch.arange(c.start, c.stop) for c, has in zip(self.slices, pattern, strict=True) if has]
        return torch.cat(chosen).to(self.device)

    def update(self, views: Sequence[Tensor | Array], present: Sequence[Tensor | Array] | None = None) -> None:
        """Take in rows.

        Args:
            views: one (N, d_v) array per view, paired by row, float32 or float64 (halves are accepted as well).
            present: one boolean (N,) per view, false where a row lacks it; its numbers there are not read.

        Raises:
            InputError: other shapes than expected; or NaN, infinity or numbers above 1e150 in a row that is present.
                Nothing has been taken in then.
        """
        tensors = [_tensor(view).to(self.device) for view in views]
        shapes = [tuple(view.shape) for view in tensors]
        if [shape[1:] for shape in shapes] != [(dim,) for dim in self.dims] or len({shape[0] for shape in shapes}) > 1:
            raise InputError(f"views have shapes {shapes}; expected equal numbers of rows and {self.dims} columns")
        if len(tensors[0]) == 0:
            return
        masks = _masks(present, len(tensors), len(tensors[0]))
        parts: dict[Pattern, list[Tensor]] = {(True,) * len(tensors): tensors}
        if masks is not None:
            codes, rows = torch.unique(masks, dim=0, return_inverse=True)
            parts = {}
            for number, code in enumerate(codes.tolist()):
                if any(code):
                    chosen = (rows == number).nonzero().flatten().to(self.device)
                    parts[tuple(code)] = [view[chosen] for view, has in zip(tensors, code, strict=True) if has]
        for part in parts.values():
            _check_finite(part)  # before anything is taken in
        for pattern, part in parts.items():
            if pattern not in self.patterns:
                self.patterns[pattern] = self._nothing(pattern)
            self.patterns[pattern].update(part)

    def _nothing(self, pattern: Pattern) -> Scatter:
        return Scatter(sum(d for d, has in zip(self.dims, pattern, strict=True) if has), self.device)

    def copy(self) -> Moments:
        """Return moments of the same rows that share no memory with these."""
        return Moments.from_state_dict(self.state_dict(), self.device)

    def merge(self, other: Moments) -> None:
        """Take in what another state has seen (Chan's update).

        Raises:
            InputError: its views have other dimensions.
        """
        if other.dims != self.dims:
            raise InputError(f"moments of views with {other.dims} columns cannot be merged into {self.dims}")
        for pattern, state in other.patterns.items():
            own = self.patterns.setdefault(pattern, Scatter(len(state.mean), self.device))
            own.merge(state)

    def reduced(self) -> Moments:
        """Return the moments of all processes' rows together, the same on every process; alone, a copy.

        Every process must call it, whatever its rows are.
        """
        result = Moments(self.dims, self.device)
        for pattern in self._patterns_anywhere():
            result.patterns[pattern] = (self.patterns.get(pattern) or self._nothing(pattern)).reduced()
        return result

    def _patterns_anywhere(self) -> list[Pattern]:
        if world_size() == 1:
            return list(self.patterns)
        views = len(self.dims)
        flags = torch.zeros(2**views, device=self.device)
        for pattern in self.patterns:
            flags[sum(has << view for view, has in enumerate(pattern))] = 1
        dist.all_reduce(flags)
        return [tuple(bool(code >> view & 1) for view in range(views)) for code in flags.nonzero().flatten().tolist()]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as named tensors, ready for safetensors."""
        state = {"dims": torch.tensor(self.dims)}
        for pattern, part in self.patterns.items():
            name = "".join("01"[has] for has in pattern)
            state |= {f"{name}.count": torch.tensor(part.count), f"{name}.mean": part.mean}
            state[f"{name}.scatter"] = part.scatter
        return state

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor], device: torch.device | str = "cpu") -> Moments:
        """Return the moments that `state_dict` described."""
        result = cls(state["dims"].tolist(), device)
        for name in [key.removesuffix(".count") for key in state if key.endswith(".count")]:
            mean, scatter = (state[f"{name}.{part}"].to(result.device) for part in ("mean", "scatter"))
            pattern = tuple(letter == "1" for letter in name)
            result.patterns[pattern] = Scatter.of(int(state[f"{name}.count"]), mean.clone(), scatter.clone())
        return result


def _tensor(view: Tensor | Array) -> Tensor:
    if isinstance(view, Tensor):
        view = view.detach()
        return view if view.is_floating_point() else view.double()
    array = np.asarray(view)
    if not array.flags.writeable:  # torch warns of memory it must not write; nothing here writes
        array = array.view()
    return torch.as_tensor(array if array.dtype.kind == "f" else array.astype(np.float64))


def _check_finite(views: Sequence[Tensor]) -> None:
    for view in views:
        low, high = torch.aminmax(view)  # NaN comes through
        if not (float(high) <= _LARGEST and float(low) >= -_LARGEST):
            raise InputError(
                "Input X contains NaN or infinity, or numbers too large for float64 sums; "
                "leave such rows out, or mark them by `present`"
            )


def _masks(present: Sequence[Tensor | Array] | None, views: int, rows: int) -> Tensor | None:
    """Return presence as bool (N, V), or None where every row has every view."""
    if present is None:
        return None
    masks = [torch.as_tensor(np.asarray(mask) if not isinstance(mask, Tensor) else mask.cpu()) for mask in present]
    if len(masks) != views or any(mask.shape != (rows,) or mask.dtype != torch.bool for mask in masks):
        raise InputError(
            f"`present` holds {[(tuple(mask.shape), str(mask.dtype)) for mask in masks]}; "
            f"expected {views} boolean vectors of {rows} rows, one per view"
        )
    stacked = torch.stack(masks, dim=1)
    return None if bool(stacked.all()) else stacked
