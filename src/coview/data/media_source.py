"""Media files as a source: views are cut by seconds on each recording's one clock, straight from the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coview.data.collection import Collection
from coview.data.text import encode_text
from coview.data.timeline import Timeline, Timelines
from coview.data.views import AudioView, Batch, FeaturesView, TextView, VideoView, ViewSpec
from coview.errors import DataProblemsError, MediaError, UsageError
from coview.media.cuts import AudioCut, Sound, VideoCut
from coview.media.decode import read_clips
from coview.randomness import integers, uniform

_DTYPES = {"video": torch.uint8, "image": torch.uint8, "audio": torch.float32, "text": torch.int64}
_ATTEMPTS = 8  # recordings tried for one sample before giving up: a disk that is gone must not look like bad luck
_WINDOW, _REPLACE, _PLACE = 100, 200, 300  # streams of a sample's key; one per view or attempt from each number on

Span = tuple[float, float]


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
            raise UsageError(f"{collection.folder}: none of its {len(collection)} recordings has {kinds}")
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

        Raises:
            DataProblemsError: the replacements of one sample failed too, many times in a row.
        """
        used, cuts, replaced = [], [], []
        windows, places = (self._draws(key, stream) for stream in (_WINDOW, _PLACE))
        for wanted, sample, window, place in zip(row.tolist(), key, windows, places, strict=True):
            index, cut, problems = self._read_one(wanted, sample, window, place)
            used.append(index)
            cuts.append(cut)
            replaced += problems
        return self._batch(torch.tensor(used), key, cuts, replaced)

    def windows(self, count: int) -> int:
        """Return `count`: a media file can be cut anywhere."""
        return count

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Cut the `window`-th of `count` evenly spaced positions; see `Source.read_window`.

        With F frames at the view's rate and clips of L, clip k starts at frame floor(k (F - L) / (count - 1)), the
        sound at the same share of its own room; a single window is the middle one.
        """
        cuts, replaced = [], []
        for index in row.tolist():
            recording, place, places = self._recording_at(index, window, count)
            starts = {
                name: _window_start(self._span(recording, view), view, place, places)
                for name, view in self.views.items()
                if _has(recording, view)
            }
            try:
                cuts.append(self._cut(index, recording, starts, dict.fromkeys(starts, 0.5)))
            except MediaError as error:
                cuts.append({})
                replaced.append((index, error.reason))
        return self._batch(row, torch.zeros_like(row), cuts, replaced)

    def _draws(self, key: Tensor, stream: int) -> list[dict[str, float]]:
        """Return a number in [0, 1) per key and view: drawn together, since a drawing costs more than a number."""
        drawn = [uniform(key, stream + number).tolist() for number in range(len(self.views))]
        return [dict(zip(self.views, numbers, strict=True)) for numbers in zip(*drawn, strict=True)]

    def _read_one(
        self, wanted: int, key: Tensor, window: Mapping[str, float], place: Mapping[str, float]
    ) -> tuple[int, dict[str, tuple[Tensor, float]], list[tuple[int, str]]]:
        problems: list[tuple[int, str]] = []
        index = wanted
        for attempt in range(_ATTEMPTS):
            recording = self._recording(index, key)
            starts = self._place(recording, place)
            try:
                return index, self._cut(index, recording, starts, window), problems
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

    def _cut(
        self, index: int, recording: Timeline, starts: Mapping[str, float], window: Mapping[str, float]
    ) -> dict[str, tuple[Tensor, float]]:
        """Read all views of one sample, opening its file once; view -> (tensor, start)."""
        order: list[str] = []
        cuts: list[tuple[VideoCut | None, AudioCut | None]] = []
        found: dict[str, tuple[Tensor, float]] = {}
        for name, start in starts.items():
            view = self.views[name]
            if isinstance(view, TextView):
                found[name] = encode_text(recording.caption or "", view), start
                continue
            order.append(name)
            if isinstance(view, VideoView):
                size = view.decode_size
                cut = VideoCut(start=start, count=view.frames, fps=view.fps, size=size, window=window[name])
                cuts.append((cut, None))
            elif isinstance(view, AudioView):
                cuts.append((None, AudioCut(start=start, seconds=view.seconds, sample_rate=view.sample_rate)))
        read = self._read_cuts(index, recording, cuts) if cuts else []
        for name, (frames, sound) in zip(order, read, strict=True):
            if frames is not None:
                found[name] = frames, starts[name]
            elif sound is not None and bool(sound.waveform.any()):
                found[name] = sound.waveform, starts[name]
        return found

    def _read_cuts(
        self, index: int, recording: Timeline, cuts: Sequence[tuple[VideoCut | None, AudioCut | None]]
    ) -> list[tuple[Tensor | None, Sound | None]]:
        """Read cuts of recording number `index`; see `read_clips`."""
        return read_clips(self.root / Path(recording.path), cuts)

    def _batch(
        self,
        row: Tensor,
        key: Tensor,
        cuts: list[dict[str, tuple[Tensor, float]]],
        replaced: list[tuple[int, str]],
    ) -> Batch:
        views, start, present = {}, {}, {}
        for name, view in self.views.items():
            views[name] = torch.zeros(len(cuts), *view.raw_shape, dtype=_DTYPES[view.stream])
            start[name] = torch.zeros(len(cuts), dtype=torch.float64)
            present[name] = torch.tensor([name in cut for cut in cuts], dtype=torch.bool)
            for index, cut in enumerate(cuts):
                if name in cut:
                    views[name][index], start[name][index] = cut[name]
        return Batch(
            views=views,
            row=row,
            key=key,
            start=start,
            present=present,
            label=self.labels[row],
            mirrorable=self._mirrorable[row],
            replaced=replaced,
        )


def _has(recording: Timeline, view: ViewSpec) -> bool:
    if isinstance(view, VideoView):
        return recording.has_video
    if isinstance(view, TextView):
        return bool(recording.caption)
    return recording.has_audio and not recording.silent


def _is_short(recording: Timeline, view: ViewSpec) -> bool:
    if isinstance(view, TextView):
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
