"""Any map-style dataset as a source: `dataset[row]` is a dict of raw views by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coview.data.source import blank
from coview.data.views import Batch, ViewSpec, raw_views
from coview.errors import DataProblemsError, InputError, UsageError
from coview.randomness import integers

_ATTEMPTS = 8  # recordings tried for one sample before giving up
_REPLACE = 200  # streams of a sample's key; one per attempt from this number on


class DatasetSource:
    """Recordings of a dataset in memory, in files, or behind anything else; implements `Source`.

    Args:
        dataset: has `len(dataset)`, and `dataset[row]` gives a mapping from the views' names to arrays or tensors of
            the views' `raw_shape` and `dtype` (a sequence may be shorter). A view that is lacking or None is absent.
            The same row must give the same values: random changes are coview's, which can then be repeated. What a
            row raises means that it cannot be read.
        views: name -> specification.
        name: what reports call it.
        labels: by row, the number of its class, -1 where unlabelled; None: no labels.
        classes: names of the classes.
        ids: by row, a name of its own; None: the row's number.

    Raises:
        UsageError: the dataset is empty, or labels or ids do not fit it.
    """

    def __init__(
        self,
        dataset: Any,
        views: Mapping[str, ViewSpec],
        *,
        name: str = "dataset",
        labels: Sequence[int] | Tensor | None = None,
        classes: Sequence[str] = (),
        ids: Sequence[str] | None = None,
    ) -> None:
        count = len(dataset)
        self._dataset, self.views, self.name, self.classes = dataset, raw_views(views), name, list(classes)
        self.ids = [str(row) for row in range(count)] if ids is None else list(ids)
        self.labels = torch.full((count,), -1) if labels is None else torch.as_tensor(labels, dtype=torch.int64)
        if count < 1 or not self.views:
            raise UsageError(f"{name}: the dataset has {count} rows and {len(self.views)} views; expected at least one")
        if len(self.ids) != count or len(set(self.ids)) != count:
            raise UsageError(f"{name}: expected {count} different ids, found {len(set(self.ids))}")
        if self.labels.shape != (count,) or self.labels.min() < -1 or self.labels.max() >= len(self.classes):
            raise UsageError(
                f"{name}: expected {count} labels from -1 to {len(self.classes) - 1}, the numbers of `classes`"
            )
        said = [name, self.ids, self.labels.tolist(), self.classes, {n: str(view) for n, view in self.views.items()}]
        self.fingerprint = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`.

        Raises:
            InputError: a row gives no mapping, or a view of another shape or type; names row, view and both shapes.
            DataProblemsError: the replacements of one sample failed too, many times in a row.
        """
        rows, problems = row.tolist(), list[tuple[int, str]]()
        batch = blank(self.views, row, key)
        for number, wanted in enumerate(rows):
            found = self._item(wanted)
            for attempt in range(_ATTEMPTS):
                if not isinstance(found, str):
                    break
                problems.append((rows[number], found))
                rows[number] = int(integers(key[number], _REPLACE + attempt, len(self)))
                found = self._item(rows[number])
            if isinstance(found, str):
                raise DataProblemsError(f"{self.name}: {_ATTEMPTS} rows in a row could not be read: {found}")
            self._put(batch, number, found)
        batch.row = torch.tensor(rows, dtype=torch.int64)
        batch.label, batch.replaced = self.labels[batch.row], problems
        return batch

    def windows(self, count: int) -> int:
        """Return 1: a row is what it is."""
        return 1

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """See `Source.read_window`; errors as `read`."""
        batch = blank(self.views, row, torch.zeros_like(row))
        batch.label = self.labels[row]
        for number, index in enumerate(row.tolist()):
            found = self._item(index)
            if isinstance(found, str):
                batch.replaced.append((index, found))
                found = {}
            self._put(batch, number, found)
        return batch

    def _item(self, row: int) -> dict[str, Tensor] | str:
        """Return the views that a row has, checked; or why it cannot be read."""
        try:
            item = self._dataset[row]
        except Exception as error:  # whatever a dataset of anybody's raises is its word for "cannot be read"
            return f"{type(error).__name__}: {error}"
        if not isinstance(item, Mapping) or not set(item) & set(self.views):
            given = sorted(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
            raise InputError(f"{self.name}: row {row} gives {given}; expected a dict of {', '.join(self.views)}")
        found = {name: torch.as_tensor(item[name]) for name in self.views if item.get(name) is not None}
        for name, value in found.items():
            shape = self.views[name].raw_shape
            shorter = self.views[name].sequence and value.shape[1:] == shape[1:] and 1 <= len(value) <= shape[0]
            if value.dtype != self.views[name].dtype or not (tuple(value.shape) == shape or shorter):
                raise InputError(
                    f"{self.name}: row {row} has {name!r} as {value.dtype} {tuple(value.shape)}; expected "
                    f"{self.views[name].dtype} {shape}"
                )
            if not bool(torch.isfinite(value).all()):
                return f"{name!r} has numbers that are not finite"
        return found

    def _put(self, batch: Batch, number: int, found: Mapping[str, Tensor]) -> None:
        for name, value in found.items():
            batch.views[name][number, : len(value)] = value
            batch.present[name][number] = True
            if name in batch.length:
                batch.length[name][number] = len(value)
