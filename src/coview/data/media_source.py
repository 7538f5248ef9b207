"""Media files as a source: views are cut by seconds on each recording's one clock, straight from the files."""

from __future__ import annotations

import copy
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.collection import Collection
from coview.data.cutting import Found, Sample
from coview.data.looks import Crops
from coview.data.placing import place, place_window
from coview.data.rows import COLUMNS, Rows
from coview.data.source import blank
from coview.data.timeline import Timeline, Timelines
from coview.data.views import Batch, ViewSpec, cut_from
from coview.errors import DataProblemsError, MediaError, UsageError
from coview.media.cuts import Excerpt, Window
from coview.media.decode import Read, read_samples
from coview.media.excerpt import read_excerpt
from coview.randomness import integers, uniform

_ATTEMPTS = 8  # recordings tried for one sample before giving up: a disk that is gone must not look like bad luck
_WINDOW, _REPLACE, _PLACE = 100, 200, 300  # streams of a sample's key; one per view or attempt from each number on


class MediaSource:
    """Recordings of a collection, cut into views; implements `Source`. Where, says `placing.place`.

    **What is missing.** A recording without a stream, or with a silent track, has `present` False for its views. So
    has a single cut of sound that is zero throughout. A stream shorter than a view starts at its beginning; the last
    frame is repeated, sound is followed by zeros, and `short` says for which recordings that happens.

    **Stills.** A still picture is a recording of 0 s: it has views of one picture, none of several or of a later one.

    Recordings that have none of the views are left out from the beginning (`left_out` counts them).

    Args:
        collection: the recordings, such as one split of a collection.
        views: what is cut.
        off_sync: how far picture and sound of one sample may be apart, in seconds.

    Attributes:
        short: view -> bool (rows,), True where the recording's stream is shorter than the view.
        lacking: view -> how many of the recordings have nothing that it could be cut from.
        small: view -> how many of the recordings have a smaller picture.
    """

    in_one_pass = True

    def __init__(self, collection: Collection, views: Mapping[str, ViewSpec], off_sync: float = 0.5) -> None:
        if off_sync < 0 or not views:
            raise UsageError("a source needs at least one view and off_sync >= 0")
        self.name, self.views, self.off_sync = str(collection.folder), dict(views), off_sync
        self._placed = self.views  # what samples are placed by, if fewer or other ones are cut
        self._crops: Crops | None = None
        self._cut_with: dict[str, str] = {}  # view -> that of `_placed` whose moment and square it has, for crops
        self.classes = collection.classes
        self.fingerprint = collection.fingerprint
        table = collection.columns(COLUMNS)
        known = Timelines(table)
        has = {name: _has(collection, name, view, known) for name, view in self.views.items()}
        kept = np.logical_or.reduce(list(has.values()))
        self.left_out = int((~kept).sum())
        if self.left_out == len(collection):
            kinds = " or ".join(sorted({view.stream for view in views.values()}))
            stills = int(known.still.sum())
            why = f": {stills} are still pictures, without sound or motion" if stills else ""
            raise UsageError(f"{collection.folder}: none of its {len(collection)} recordings has {kinds}{why}")
        if self.left_out:
            table, has = table.filter(pa.array(kept)), {name: there[kept] for name, there in has.items()}
            known = Timelines(table)
        self._rows = Rows(collection.folder, collection.root, table, known, collection.classes)
        self._recordings = known
        self._has = {name: torch.from_numpy(there) for name, there in has.items()}
        self.lacking = {name: int((~there).sum()) for name, there in has.items()}
        self.small = {name: int(view.small(known).sum()) for name, view in self.views.items()}
        self.short = {name: torch.from_numpy(view.short(known)) for name, view in self.views.items()}
        self.labels = self._rows.labels

    def __len__(self) -> int:
        return len(self._recordings)

    @property
    def ids(self) -> list[str]:
        """The recordings' ids in order."""
        return self._rows.ids

    @property
    def digests(self) -> list[str] | None:
        """By row, the digest of the file's bytes; None where the collection does not know all of them."""
        return self._rows.digests

    @property
    def contents(self) -> list[str] | None:
        """By row, the digest of what the file shows and sounds like; None where the collection does not know all."""
        return self._rows.contents

    @property
    def groups(self) -> list[str] | None:
        """By row, the group: recordings of one are about one thing, such as several captions of a film."""
        return self._rows.groups

    def column(self, name: str) -> pa.ChunkedArray | None:
        """A column of the collection's table, by row; None where it is not there, or lacks it."""
        return self._rows.column(name)

    def narrowed(self, views: Names[str]) -> Self:
        """Return the same recordings with some views alone, which start where they do among all of them."""
        part = copy.copy(self)
        part.views = {name: view for name, view in self.views.items() if name in views}
        return part

    def cropped(self, views: Mapping[str, ViewSpec], augment: AugmentSettings) -> Self:
        """Return the same recordings for training in these views; see `source.cropped`.

        Each view has its own raw form; those that take no random crop are cut as before. Windows are read from the
        source itself.
        """
        cuts = {name: cut_from(name, spec) for name, spec in views.items() if spec.track or not spec.with_}
        own = {name: cut for name, cut in cuts.items() if cut in self.views}  # aligned ones are made of the same pixels
        crops = Crops.among(own, views, augment)
        if not crops.names:
            return self
        part = copy.copy(self)
        part._crops, part._cut_with = crops, own
        part.views = {name: views[name].cropped if name in crops.names else views[name] for name in own}
        part._has = self._has | {name: self._has[cut] for name, cut in own.items()}
        return part

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """Cut raw views where `key` says; see `Source.read`.

        Samples of one recording are decoded in one pass over its file.

        Raises:
            DataProblemsError: the replacements of one sample failed too, many times in a row.
        """
        batch, rows, keys = self._blank(row, key), row.tolist(), key.unbind()
        windows, places = self._draws(key)
        together: dict[int, list[int]] = {}
        for number, index in enumerate(rows):
            together.setdefault(index, []).append(number)
        problems: dict[int, list[tuple[int, str]]] = {}
        for index, numbers in together.items():
            for number, found in zip(numbers, self._read_together(index, numbers, keys, windows, places), strict=True):
                if found is None:
                    rows[number], found, problems[number] = self._read_one(
                        index, keys[number], windows[number], places[number]
                    )
                self._put(batch, number, found)
        batch.row = torch.tensor(rows, dtype=torch.int64)
        batch.label, batch.mirrorable = self.labels[batch.row], self._rows.mirrorable[batch.row]
        batch.replaced = [problem for number in sorted(problems) for problem in problems[number]]
        return batch

    def windows(self, count: int) -> int:
        """Return `count`: a media file can be cut anywhere."""
        return count

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Cut the `window`-th of `count` evenly spaced positions (`placing.place_window`); see `Source.read_window`."""
        return self.read_windows(row, [window], count)[0]

    def read_windows(self, row: Tensor, windows: Sequence[int], count: int) -> list[Batch]:
        """Return `read_window` of several windows, with one pass over each file; see `source.read_windows`."""
        batches = [self._blank(row, torch.zeros_like(row)) for _ in windows]
        for number, index in enumerate(row.tolist()):
            samples = []
            for window in windows:
                recording, part, parts = self._recording_at(index, window, count)
                starts = place_window(recording, self._views_of(index), part, parts)
                samples.append(Sample.of(recording, self.views, starts, dict.fromkeys(starts, 0.5)))
            for batch, found in zip(batches, self._cut_or_not(index, samples), strict=True):
                if isinstance(found, MediaError):
                    batch.replaced.append((index, found.reason))
                else:
                    self._put(batch, number, found)
        return batches

    def _cut_or_not(self, index: int, samples: Sequence[Sample]) -> list[Found | MediaError]:
        """Return what each sample of a recording holds, or why it cannot be read."""
        try:
            return list(self._cut(index, samples))
        except MediaError as error:  # of several, one by one: which of them it is
            return [error] if len(samples) == 1 else [self._cut_or_not(index, [one])[0] for one in samples]

    def excerpt(self, row: int, seconds: float, side: int) -> Excerpt:
        """Return a piece of a recording's own file for people; see `read_excerpt`."""
        recording = self._recordings[row]
        return read_excerpt(self._rows.path(row), recording.start, recording.end, seconds, side)

    def _draws(self, key: Tensor) -> tuple[list[dict[str, Window]], list[dict[str, float]]]:
        """Return per key and view its window, and a number in [0, 1) for its place; drawn together: cheaper."""
        count = len(self._placed)
        streams = torch.tensor([first + number for first in (_WINDOW, _PLACE) for number in range(count)])
        drawn = uniform(key[:, None], streams).tolist()
        windows: list[dict[str, Window]] = [dict(zip(self._placed, numbers[:count], strict=True)) for numbers in drawn]
        if self._crops is not None:
            for own, crop in zip(windows, self._crops.drawn(key), strict=True):
                own |= {name: own[cut] for name, cut in self._cut_with.items()}
                own.update(crop)
        return windows, [dict(zip(self._placed, numbers[count:], strict=True)) for numbers in drawn]

    def _read_together(
        self,
        index: int,
        numbers: Sequence[int],
        keys: Sequence[Tensor],
        windows: Sequence[Mapping[str, Window]],
        places: Sequence[Mapping[str, float]],
    ) -> Sequence[Found | None]:
        """Return what the samples `numbers`, all of recording `index`, hold; None where each must be tried alone."""
        if len(numbers) == 1:
            return [None]
        samples = [self._sample(index, keys[number], windows[number], places[number]) for number in numbers]
        try:
            return self._cut(index, samples)
        except MediaError:
            return [None] * len(numbers)  # one of them cannot be read: which, and why, is found one by one

    def _read_one(
        self, wanted: int, key: Tensor, window: Mapping[str, Window], places: Mapping[str, float]
    ) -> tuple[int, Found, list[tuple[int, str]]]:
        problems: list[tuple[int, str]] = []
        index = wanted
        for attempt in range(_ATTEMPTS):
            try:
                [found] = self._cut(index, [self._sample(index, key, window, places)])
                return index, found, problems
            except MediaError as error:
                problems.append((index, f"{error.reason}: {error.message}"))
                index = int(integers(key, _REPLACE + attempt, len(self)))
        lines = "\n".join(f"  - {self.ids[index]}: {reason}" for index, reason in problems)
        raise DataProblemsError(f"{self.name}: {_ATTEMPTS} recordings in a row could not be read:\n{lines}")

    def _recording(self, index: int, key: Tensor) -> Timeline:
        """Return the recording, or the part of it, that a sample is cut from."""
        return self._recordings[index]

    def _recording_at(self, index: int, window: int, count: int) -> tuple[Timeline, int, int]:
        """Return the recording, or the part of it, that a window lies in, and which of how many it is there."""
        return self._recordings[index], window, count

    def _sample(self, index: int, key: Tensor, window: Mapping[str, Window], places: Mapping[str, float]) -> Sample:
        recording = self._recording(index, key)
        starts = place(recording, self._views_of(index), places, self.off_sync)
        starts |= {name: starts[cut] for name, cut in self._cut_with.items() if cut in starts}
        return Sample.of(recording, self.views, starts, window)

    def _views_of(self, index: int) -> dict[str, ViewSpec]:
        """Return the views that a recording has."""
        return {name: view for name, view in self._placed.items() if self._has[name][index]}

    def _cut(self, index: int, samples: Sequence[Sample]) -> list[Found]:
        """Read all views of samples of one recording, in one pass over each of its files."""
        for track in samples[0].tracks:
            reads = self._read_track(index, track, samples) if track else self._read_samples(index, samples)
            for sample, read in zip(samples, reads, strict=True):
                sample.take(track, read)
        for sample in samples:
            sample.load(lambda track: self._rows.path(index, track))
        return [sample.found for sample in samples]

    def _read_samples(self, index: int, samples: Sequence[Sample]) -> list[Read]:
        """Read the cuts of samples of recording number `index` from its own file."""
        path, cuts = self._rows.path(index), [sample.cuts for sample in samples]
        return read_samples(path, cuts, sequential=self._rows.sequential(index))

    def _read_track(self, index: int, track: str, samples: Sequence[Sample]) -> list[Read]:
        path = self._rows.path(index, track)
        return read_samples(path, [sample.cuts_from(track) for sample in samples])

    def _blank(self, row: Tensor, key: Tensor) -> Batch:
        batch = blank(self.views, row, key)
        batch.label, batch.mirrorable = self.labels[row], self._rows.mirrorable[row]
        batch.cropped = self._crops.names if self._crops else frozenset()
        return batch

    def _put(self, batch: Batch, number: int, found: Found) -> None:
        """Fill in sample `number`; views that were not found stay zero and absent."""
        for name, (value, start, steps) in found.items():
            batch.views[name][number], batch.start[name][number] = value, start
            batch.present[name][number] = True
            if name in batch.length:
                batch.length[name][number] = steps


def _has(collection: Collection, name: str, view: ViewSpec, known: Timelines) -> Any:
    try:
        return view.has(known)
    except UsageError as error:
        raise UsageError(f"{collection.folder}: {name!r}: {error}") from error
