"""Media files as a source: views are cut by seconds on each recording's one clock, straight from the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from coview.data.collection import Collection
from coview.data.text import encode_text
from coview.data.timeline import Timeline, Timelines
from coview.data.views import AudioView, Batch, FeaturesView, TextView, VideoView, ViewSpec
from coview.errors import DataProblemsError, MediaError, UsageError
from coview.media.cuts import AudioCut, VideoCut
from coview.media.decode import Read, read_samples
from coview.randomness import integers, uniform

_DTYPES = {"video": torch.uint8, "image": torch.uint8, "audio": torch.float32, "text": torch.int64}
_ATTEMPTS = 8  # recordings tried for one sample before giving up: a disk that is gone must not look like bad luck
_WINDOW, _REPLACE, _PLACE = 100, 200, 300  # streams of a sample's key; one per view or attempt from each number on

Span = tuple[float, float]
Found = dict[str, tuple[Tensor, float]]  # view -> what was cut, and where it starts


@dataclass
class Sample:
    """What is to be cut for one sample.

    Attributes:
        names, cuts: the views that come from the file, and where.
        found: the other views, whose content is known already.
        starts: second at which every view starts.
    """

    recording: Timeline
    starts: Mapping[str, float]
    names: list[str] = field(default_factory=list)
    cuts: list[tuple[VideoCut | None, AudioCut | None]] = field(default_factory=list)
    found: Found = field(default_factory=dict)


class MediaSource:
    """Recordings of a collection, cut into views; implements `Source`.

    **Where.** The longest view is placed uniformly in the span that all of the sample's streams share; every other
    starts uniformly between `off_sync` seconds before it begins and `off_sync` seconds after the moment that makes
    both end together, clipped to its own stream. With a sound longer than the picture this is the rule of xID; with a
    longer picture it is the same rule with the roles exchanged. A view with `after` starts that many seconds, drawn
    uniformly, after the first picture view; the first is then placed so that both fit, and the delay is shortened only
    where the recording is too short for it.

    **What is missing.** A recording without a stream, or with a silent track, has `present` False for its views. So
    has a single cut of sound that is zero throughout. A stream shorter than a view starts at its beginning; the last
    frame is repeated, sound is followed by zeros, and `short` says for which recordings that happens.

    **Stills.** A still picture is a recording of 0 s: it has views of one picture, none of several or of a later one.

    **Captions.** A text view is the recording's caption; it has no place in time, and starts at 0.

    Recordings that have none of the views are left out from the beginning (`left_out` counts them).

    Args:
        collection: the recordings, such as one split of a collection.
        views: what is cut.
        off_sync: how far picture and sound of one sample may be apart, in seconds.

    Attributes:
        short: view -> bool (rows,), True where the recording's stream is shorter than the view.
        lacking: view -> how many of the recordings have nothing that it could be cut from.
    """

    in_one_pass = True

    def __init__(self, collection: Collection, views: Mapping[str, ViewSpec], off_sync: float = 0.5) -> None:
        if off_sync < 0 or not views:
            raise UsageError("a source needs at least one view and off_sync >= 0")
        computed = [name for name, view in views.items() if isinstance(view, FeaturesView)]
        if computed:
            raise UsageError(f"{collection.folder}: {computed[0]!r} is no view of media files; embed them first")
        known = Timelines(collection.table)
        kept = [row for row in range(len(known)) if any(_has(known[row], view) for view in views.values())]
        self.left_out = len(collection) - len(kept)
        if not kept:
            kinds = " or ".join(sorted({view.stream for view in views.values()}))
            stills = sum(known[row].still for row in range(len(known)))
            why = f": {stills} are still pictures, without sound or motion" if stills else ""
            raise UsageError(f"{collection.folder}: none of its {len(collection)} recordings has {kinds}{why}")
        self.name = str(collection.folder)
        self.views = dict(views)
        self.off_sync = off_sync
        self.root = collection.root
        self.classes = collection.classes
        self.fingerprint = collection.fingerprint
        table = collection.table.take(kept)
        self._recordings = Timelines(table)
        self.ids: list[str] = table.column("id").to_pylist()
        number = {name: index for index, name in enumerate(self.classes)}
        self.labels = torch.tensor([number.get(label, -1) for label in table.column("label").to_pylist()])
        self._mirrorable = torch.tensor(["nomirror" not in flags for flags in table.column("flags").to_pylist()])
        self.short = {
            name: torch.tensor([_is_short(self._recordings[row], view) for row in range(len(self))])
            for name, view in self.views.items()
        }
        self.lacking = {
            name: sum(not _has(self._recordings[row], view) for row in range(len(self)))
            for name, view in self.views.items()
        }

    def __len__(self) -> int:
        return len(self.ids)

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
        batch.label, batch.mirrorable = self.labels[batch.row], self._mirrorable[batch.row]
        batch.replaced = [problem for number in sorted(problems) for problem in problems[number]]
        return batch

    def windows(self, count: int) -> int:
        """Return `count`: a media file can be cut anywhere."""
        return count

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Cut the `window`-th of `count` evenly spaced positions; see `Source.read_window`.

        With F frames at the view's rate and clips of L, clip k starts at frame floor(k (F - L) / (count - 1)), the
        sound at the same share of its own room; a single window is the middle one.
        """
        batch = self._blank(row, torch.zeros_like(row))
        for number, index in enumerate(row.tolist()):
            recording, place, places = self._recording_at(index, window, count)
            starts = {
                name: _window_start(self._span(recording, view), view, place, places)
                for name, view in self.views.items()
                if _has(recording, view)
            }
            try:
                [found] = self._cut(index, [self._sample(recording, starts, dict.fromkeys(starts, 0.5))])
            except MediaError as error:
                found = {}
                batch.replaced.append((index, error.reason))
            self._put(batch, number, found)
        return batch

    def _draws(self, key: Tensor) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        """Return two numbers in [0, 1) per key and view, for its window and its place; drawn together: cheaper."""
        count = len(self.views)
        streams = torch.tensor([first + number for first in (_WINDOW, _PLACE) for number in range(count)])
        drawn = uniform(key[:, None], streams).tolist()
        windows = [dict(zip(self.views, numbers[:count], strict=True)) for numbers in drawn]
        return windows, [dict(zip(self.views, numbers[count:], strict=True)) for numbers in drawn]

    def _read_together(
        self,
        index: int,
        numbers: Sequence[int],
        keys: Sequence[Tensor],
        windows: Sequence[Mapping[str, float]],
        places: Sequence[Mapping[str, float]],
    ) -> Sequence[Found | None]:
        """Return what the samples `numbers`, all of recording `index`, hold; None where each must be tried alone."""
        if len(numbers) == 1:
            return [None]
        samples = []
        for number in numbers:
            recording = self._recording(index, keys[number])
            samples.append(self._sample(recording, self._place(recording, places[number]), windows[number]))
        try:
            return self._cut(index, samples)
        except MediaError:
            return [None] * len(numbers)  # one of them cannot be read: which, and why, is found one by one

    def _read_one(
        self, wanted: int, key: Tensor, window: Mapping[str, float], place: Mapping[str, float]
    ) -> tuple[int, Found, list[tuple[int, str]]]:
        problems: list[tuple[int, str]] = []
        index = wanted
        for attempt in range(_ATTEMPTS):
            recording = self._recording(index, key)
            try:
                [found] = self._cut(index, [self._sample(recording, self._place(recording, place), window)])
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

    def _place(self, recording: Timeline, place: Mapping[str, float]) -> dict[str, float]:
        """Return where every view of a sample starts, for the views that the recording has.

        `place` holds a number in [0, 1) for each view: where in the room it has.
        """
        here = {name: view for name, view in self.views.items() if _has(recording, view)}
        written = {name: 0.0 for name, view in here.items() if isinstance(view, TextView)}

        def draw(name: str, low: float, high: float) -> float:
            return low + max(0.0, high - low) * place[name]

        later = {name: view for name, view in here.items() if isinstance(view, VideoView) and view.after}
        plain = {name: view for name, view in here.items() if name not in later and name not in written}
        picture = next((name for name, view in plain.items() if isinstance(view, VideoView)), None)
        # Delays come first: they decide how much room at its end the first picture has to leave.
        delays = {}
        for name, view in later.items():
            begin, end = self._span(recording, view)
            low, high = view.after or (0.0, 0.0)
            room = max(0.0, end - begin - view.seconds)
            delays[name] = draw(name, min(low, room), min(high, room))
        reserve = max((delays[name] + view.seconds for name, view in later.items()), default=0.0)

        starts: dict[str, float] = {}
        order = sorted(plain, key=lambda name: (-plain[name].seconds, plain[name].stream))  # "audio" before "video"
        anchor: Span | None = None
        for name in order:
            seconds = plain[name].seconds
            begin, end = self._span(recording, plain[name])
            last = end - (max(seconds, reserve) if name == picture else seconds)
            if anchor is None:
                shared = [self._span(recording, other) for other in plain.values()]
                low, high = max(s[0] for s in shared), min(min(s[1] for s in shared) - seconds, last)
                if high < low:  # too little is shared, or nothing: the view's own stream decides
                    low, high = begin, last
                starts[name] = draw(name, low, high)
                anchor = (starts[name], starts[name] + seconds)
                continue
            # Near the anchor but inside the stream; where that is impossible, at the end of the stream nearest to it.
            low = min(max(anchor[0] - self.off_sync, begin), max(begin, last))
            high = max(low, min(anchor[1] + self.off_sync - seconds, last))
            starts[name] = draw(name, low, high)
        for name, view in later.items():
            begin, end = self._span(recording, view)
            first = starts[picture] if picture else draw(name, begin, end - reserve)
            starts[name] = max(begin, min(first + delays[name], end - view.seconds))
        return starts | written

    def _span(self, recording: Timeline, view: ViewSpec) -> Span:
        """Return the seconds that a view can be cut from: its stream, inside the recording's span."""
        video = isinstance(view, VideoView)
        begin = max(recording.start, recording.video_start if video else recording.audio_start)
        return begin, max(begin, min(recording.end, recording.video_end if video else recording.audio_end))

    def _sample(self, recording: Timeline, starts: Mapping[str, float], window: Mapping[str, float]) -> Sample:
        sample = Sample(recording, starts)
        for name, start in starts.items():
            view = self.views[name]
            if isinstance(view, TextView):
                sample.found[name] = encode_text(recording.caption or "", view), start
            elif isinstance(view, VideoView):
                size = view.decode_size
                cut = VideoCut(start=start, count=view.frames, fps=view.fps, size=size, window=window[name])
                sample.names.append(name)
                sample.cuts.append((cut, None))
            elif isinstance(view, AudioView):
                sample.names.append(name)
                sample.cuts.append((None, AudioCut(start=start, seconds=view.seconds, sample_rate=view.sample_rate)))
        return sample

    def _cut(self, index: int, samples: Sequence[Sample]) -> list[Found]:
        """Read all views of samples of one recording, in one pass over its file."""
        if not any(sample.cuts for sample in samples):
            return [sample.found for sample in samples]
        for sample, read in zip(samples, self._read_samples(index, samples), strict=True):
            for name, (frames, sound) in zip(sample.names, read, strict=True):
                if frames is not None:
                    sample.found[name] = frames, sample.starts[name]
                elif sound is not None and bool(sound.waveform.any()):
                    sample.found[name] = sound.waveform, sample.starts[name]
        return [sample.found for sample in samples]

    def _read_samples(self, index: int, samples: Sequence[Sample]) -> list[Read]:
        """Read the cuts of samples of recording number `index`."""
        return read_samples(self.root / Path(self._recordings[index].path), [sample.cuts for sample in samples])

    def _blank(self, row: Tensor, key: Tensor) -> Batch:
        """Return a batch in which nothing is present yet."""
        count = len(row)
        return Batch(
            views={name: _empty(count, view) for name, view in self.views.items()},
            row=row,
            key=key,
            start={name: torch.zeros(count, dtype=torch.float64) for name in self.views},
            present={name: torch.zeros(count, dtype=torch.bool) for name in self.views},
            label=self.labels[row],
            mirrorable=self._mirrorable[row],
        )

    def _put(self, batch: Batch, number: int, found: Found) -> None:
        """Fill in sample `number`; views that were not found are zero and absent."""
        for name, values in batch.views.items():
            if name in found:
                values[number], batch.start[name][number] = found[name]
                batch.present[name][number] = True
            else:
                values[number] = 0


def _empty(count: int, view: ViewSpec) -> Tensor:
    """Return room for raw views; pictures lie in memory as they are decoded, channels last."""
    shape = tuple(view.raw_shape)
    if isinstance(view, VideoView):
        shape = (*shape[1:], shape[0])
    room = torch.empty(count, *shape, dtype=_DTYPES[view.stream])
    if get_worker_info() is not None:  # goes to the training process as it is: a copy would double a window's memory
        room.share_memory_()  # type: ignore[no-untyped-call]
    return room.permute(0, 4, 1, 2, 3) if isinstance(view, VideoView) else room


def _has(recording: Timeline, view: ViewSpec) -> bool:
    if isinstance(view, VideoView):
        return recording.has_video and (not recording.still or (view.frames == 1 and not view.after))
    if isinstance(view, TextView):
        return bool(recording.caption)
    return recording.has_audio and not recording.silent


def _is_short(recording: Timeline, view: ViewSpec) -> bool:
    if isinstance(view, TextView) or recording.still:
        return False
    if isinstance(view, VideoView):
        length = min(recording.end, recording.video_end) - max(recording.start, recording.video_start)
    else:
        length = min(recording.end, recording.audio_end) - max(recording.start, recording.audio_start)
    # Half a frame or 10 ms: the headers of good files are off by less.
    return _has(recording, view) and length < view.seconds - (0.5 / view.fps if isinstance(view, VideoView) else 0.01)


def _window_start(span: Span, view: ViewSpec, window: int, count: int) -> float:
    if isinstance(view, TextView):
        return 0.0
    room = max(0.0, span[1] - span[0] - view.seconds)
    share = window / (count - 1) if count > 1 else 0.5
    if not isinstance(view, VideoView):
        return span[0] + room * share
    return span[0] + math.floor(room * view.fps * share + 1e-6) / view.fps
