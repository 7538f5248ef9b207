"""Sources joined by recording: raw films, features of a frozen teacher and tables of numbers, in one sample.

The first source says which recordings there are, and what of them (split, labels, classes); the others add views to
those that they know by id.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.source import Source, blank, cropped, narrowed
from coview.data.views import Batch, ViewSpec
from coview.errors import UsageError


class JoinedSource:
    """Several sources as one; implements `Source`.

    A recording that another part does not know has `present` False for the views of that part; so has one that the
    part cannot read: it is listed in `Batch.replaced` and never filled in from another recording. What cannot be read
    in the first part is replaced as that part does it, and the others follow.

    Args:
        name: for reports.
        sources: the parts, in order; no two have a view of one name.

    Raises:
        UsageError: two parts have a view of one name, or a part knows none of the recordings.
    """

    def __init__(self, name: str, sources: Sequence[Source]) -> None:
        first = sources[0]
        self.name, self.sources = name, list(sources)
        self.labels, self.classes = first.labels, list(first.classes)
        self.views: dict[str, ViewSpec] = {}
        for source in sources:
            for view, spec in source.views.items():
                if view in self.views:
                    raise UsageError(f"{name}: two parts have a view {view!r}; call one of them otherwise (NEW=PATH)")
                self.views[view] = spec
        self.lacking: dict[str, int] = dict(getattr(first, "lacking", {}))
        self._place = [torch.arange(len(first))]  # of each part: where it has each recording, -1 where it does not
        for source in sources[1:]:
            self._place.append(self._rows_of(source))
            self.lacking |= dict.fromkeys(source.views, int((self._place[-1] < 0).sum()))
        text = json.dumps([[source.fingerprint for source in sources], [place.tolist() for place in self._place[1:]]])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.in_one_pass = any(getattr(source, "in_one_pass", False) for source in sources)

    def _rows_of(self, source: Source) -> Tensor:
        there = {recording: row for row, recording in enumerate(source.ids)}
        rows = torch.tensor([there.get(recording, -1) for recording in self.ids], dtype=torch.int64)
        if not bool((rows >= 0).any()):
            raise UsageError(
                f"{self.name}: {source.name} knows none of the recordings of {self.sources[0].name}; their ids do not "
                f"meet (such as {source.ids[0]!r} and {self.ids[0]!r})"
            )
        return rows

    def __len__(self) -> int:
        return len(self._place[0])

    @property
    def ids(self) -> list[str]:
        """The first part's."""
        return self.sources[0].ids

    @property
    def digests(self) -> list[str] | None:
        """The first part's."""
        return getattr(self.sources[0], "digests", None)

    @property
    def contents(self) -> list[str] | None:
        """The first part's."""
        return getattr(self.sources[0], "contents", None)

    @property
    def groups(self) -> list[str] | None:
        """The first part's."""
        return getattr(self.sources[0], "groups", None)

    def narrowed(self, views: Collection[str]) -> JoinedSource:
        """Return the same recordings with some views alone; see `source.narrowed`."""
        part = copy.copy(self)
        part.sources = [narrowed(source, views) for source in self.sources]
        part.views = {name: spec for name, spec in self.views.items() if name in views}
        return part

    def cropped(self, views: Mapping[str, ViewSpec], augment: AugmentSettings) -> JoinedSource:
        """See `source.cropped`."""
        part = copy.copy(self)
        part.sources = [cropped(source, views, augment) for source in self.sources]
        part.views = {name: spec for source in part.sources for name, spec in source.views.items()}
        return part

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`."""
        batch = self.sources[0].read(row, key)
        for number, source in enumerate(self.sources[1:], start=1):
            batch = self._add(batch, number, source.read)
        return self._own(batch)

    def windows(self, count: int) -> int:
        """See `Source.windows`: as many as any of the parts has; the others repeat theirs."""
        return max(source.windows(count) for source in self.sources)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """See `Source.read_window`."""

        def read(number: int) -> Callable[[Tensor, Tensor], Batch]:
            source = self.sources[number]
            own = source.windows(count)
            return lambda rows, keys: source.read_window(rows, window * own // count, own)

        batch = read(0)(row, row)
        for number in range(1, len(self.sources)):
            batch = self._add(batch, number, read(number))
        return self._own(batch)

    def _own(self, batch: Batch) -> Batch:
        """Return the batch without views that a part reads although they are not wanted."""
        fields = {name: getattr(batch, name) for name in ("views", "start", "present", "length")}
        own: dict[str, Any] = {
            n: {view: value for view, value in field.items() if view in self.views} for n, field in fields.items()
        }
        return dataclasses.replace(batch, **own)

    def _add(self, batch: Batch, number: int, read: Callable[[Tensor, Tensor], Batch]) -> Batch:
        """Return the batch with the views of another part, cut from the same recordings."""
        views = self.sources[number].views
        if not views:
            return batch
        rows = self._place[number].to(batch.row.device)[batch.row]
        known = (rows >= 0).nonzero()[:, 0]
        empty = self._nothing(views, batch)
        if not len(known):
            return _beside(batch, empty)
        got = read(rows[known], batch.key[known])
        own = dict(zip(rows[known].tolist(), batch.row[known].tolist(), strict=True))
        problems = [(own[row], reason) for row, reason in got.replaced if row in own]
        same = got.row == rows[known]  # another recording is no stand-in for one that is here already
        got = got.select(same)
        added = empty.map(lambda mine, theirs: mine.index_copy(0, known[same], theirs), got)
        return _beside(batch, dataclasses.replace(added, replaced=problems, cropped=got.cropped))

    def _nothing(self, views: Mapping[str, ViewSpec], batch: Batch) -> Batch:
        empty = blank(views, batch.row.clone(), batch.key.clone())
        empty.label = batch.label.clone()
        return empty


def _beside(batch: Batch, other: Batch) -> Batch:
    """Return the batch with the views of another batch of the same samples."""
    return dataclasses.replace(
        batch,
        views=batch.views | other.views,
        start=batch.start | other.start,
        present=batch.present | other.present,
        length=batch.length | other.length,
        mirrorable=batch.mirrorable & other.mirrorable,
        cropped=batch.cropped | other.cropped,
        replaced=[*batch.replaced, *other.replaced],
    )
