"""A part of a source: some of its recordings, if asked with other labels; for few labels, for some classes."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.source import Source, cropped, excerpt, read_windows
from coview.data.views import Batch, ViewSpec
from coview.errors import DataProblemsError, UsageError
from coview.media.cuts import Excerpt
from coview.randomness import integers

_ATTEMPTS, _REPLACE = 8, 500  # replacements tried, and the first of their streams of a sample's key


class Part:
    """Some recordings of a source, in its order; implements `Source`.

    Args:
        source: stays as it is.
        rows: int64, ascending positions in the source.
        classes: names of the labels kept, in the new order; a label not among them becomes -1. None keeps all.

    Raises:
        UsageError: no row is left.
    """

    def __init__(self, source: Source, rows: Tensor, classes: Sequence[str] | None = None) -> None:
        if not rows.numel():
            raise UsageError(f"{source.name}: no recording is left in this part")
        self.source, self.rows, self.name = source, rows, source.name
        self.ids = [source.ids[row] for row in rows.tolist()]
        self.classes = list(source.classes if classes is None else classes)
        number = {name: index for index, name in enumerate(self.classes)}
        self.renamed = torch.tensor([number.get(name, -1) for name in source.classes] + [-1])  # -1 stays -1
        self.labels = self.renamed[source.labels[rows]]
        self.in_one_pass: bool = getattr(source, "in_one_pass", False)
        text = "\n".join([source.fingerprint, *self.ids, "", *self.classes])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """What is cut from every recording."""
        return self.source.views

    @property
    def digests(self) -> list[str] | None:
        """Those of its rows; see `Source`."""
        return self._column("digests")

    @property
    def contents(self) -> list[str] | None:
        """Those of its rows; see `Source`."""
        return self._column("contents")

    @property
    def groups(self) -> list[str] | None:
        """Those of its rows; see `Source`."""
        return self._column("groups")

    def _column(self, name: str) -> list[str] | None:
        known = getattr(self.source, name, None)
        return None if known is None else [known[row] for row in self.rows.tolist()]

    def __len__(self) -> int:
        return len(self.ids)

    def cropped(self, views: Mapping[str, ViewSpec], augment: AugmentSettings) -> Part:
        """See `source.cropped`."""
        part = copy.copy(self)
        part.source = cropped(self.source, views, augment)
        return part

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`; what replaces a recording that cannot be read is drawn from this part too.

        Raises:
            DataProblemsError: many replacements in a row lay outside the part or could not be read.
        """
        batch = self.source.read(self.rows[row], key)
        for attempt in range(_ATTEMPTS):
            strange = (~torch.isin(batch.row, self.rows)).nonzero().squeeze(1)
            if not strange.numel():
                return self._own(batch)
            other = self.rows[integers(key[strange], _REPLACE + attempt, len(self))]
            batch = _put(batch, strange, self.source.read(other, key[strange]))
        raise DataProblemsError(f"{self.name}: {_ATTEMPTS} recordings in a row could not be read in a part of it")

    def windows(self, count: int) -> int:
        """See `Source.windows`."""
        return self.source.windows(count)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """See `Source.read_window`."""
        return self._own(self.source.read_window(self.rows[row], window, count))

    def read_windows(self, row: Tensor, windows: Sequence[int], count: int) -> list[Batch]:
        """See `source.read_windows`."""
        return [self._own(batch) for batch in read_windows(self.source, self.rows[row], windows, count)]

    def excerpt(self, row: int, seconds: float, side: int) -> Excerpt:
        """See `source.excerpt`."""
        return excerpt(self.source, int(self.rows[row]), seconds, side)

    def _own(self, batch: Batch) -> Batch:
        place = {row: index for index, row in enumerate(self.rows.tolist())}
        return dataclasses.replace(
            batch,
            row=torch.searchsorted(self.rows, batch.row),
            label=self.renamed[batch.label],
            replaced=[(place[row], reason) for row, reason in batch.replaced if row in place],
        )


def _put(batch: Batch, where: Tensor, other: Batch) -> Batch:
    """Return the batch with the samples `where` (int64) taken from `other`."""

    def put(mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.index_copy(0, where, theirs[name]) for name, value in mine.items()}

    return dataclasses.replace(
        batch,
        views=put(batch.views, other.views),
        row=batch.row.index_copy(0, where, other.row),
        start=put(batch.start, other.start),
        present=put(batch.present, other.present),
        label=batch.label.index_copy(0, where, other.label),
        mirrorable=batch.mirrorable.index_copy(0, where, other.mirrorable),
        replaced=[*batch.replaced, *other.replaced],
    )
