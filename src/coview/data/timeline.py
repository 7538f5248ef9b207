"""What placing a cut needs to know of a recording, for many recordings in little memory and without delay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from coview.data.columns import Words, facts, numbers
from coview.data.tables import in_one_piece

_SECONDS = ("start", "end", "video_start", "video_end", "audio_start", "audio_end")
_SIZE = ("width", "height")
_FACTS = ("has_video", "has_audio", "silent")

Flags = NDArray[np.bool_]
Medium = Literal["picture", "sound"]


class File(NamedTuple):
    """Where a file lies, as text (`identity.real_path`), and what it was when it was indexed; 0 and "" are unknown."""

    path: str
    bytes: int = 0
    modified: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Some fields of a `Recording`; see there."""

    start: float
    end: float
    video_start: float
    video_end: float
    audio_start: float
    audio_end: float
    width: int
    height: int
    file: File
    caption: str | None
    tracks: Mapping[str, File]

    def span(self, medium: Medium | None) -> tuple[float, float]:
        """Return the seconds in which there is picture or sound, inside the recording's span; None: all of that."""
        if medium is None:
            return self.start, self.end
        video = medium == "picture"
        begin = max(self.start, self.video_start if video else self.audio_start)
        return begin, max(begin, min(self.end, self.video_end if video else self.audio_end))


class Timelines:
    """The timelines of a collection's table, column by column; reading processes share their memory."""

    def __init__(self, table: pa.Table) -> None:
        self._seconds = {name: numbers(table.column(name)) for name in _SECONDS}
        self._size = {name: numbers(table.column(name)) for name in _SIZE}
        self._captions, self._files, self._tracks = Words(table.column("caption")), _Files.of(table), _tracks(table)
        self._facts = torch.from_numpy(np.stack([facts(table, name) for name in _FACTS], 1))

    def __len__(self) -> int:
        return len(self._facts)

    def __getitem__(self, row: int) -> Timeline:
        seconds: dict[str, Any] = {name: float(values[row]) for name, values in self._seconds.items()}
        size = {name: int(values[row]) for name, values in self._size.items()}
        tracks = {name: files[row] for name, files in self._tracks.items() if files.paths[row] is not None}
        return Timeline(**seconds, **size, file=self._files[row], caption=self._captions[row], tracks=tracks)

    @property
    def has_video(self) -> Flags:
        """Which recordings have pictures, bool (rows,)."""
        return self._facts[:, 0].numpy()

    @property
    def has_audio(self) -> Flags:
        """Which have sound, be it silent."""
        return self._facts[:, 1].numpy()

    @property
    def silent(self) -> Flags:
        """Whose sound says nothing."""
        return self._facts[:, 2].numpy()

    @property
    def has_caption(self) -> Flags:
        """Which have words."""
        return self._captions.filled

    @property
    def still(self) -> Flags:
        """Which are one picture, which lasts 0 s."""
        begin, end = (self._seconds[name].numpy() for name in ("video_start", "video_end"))
        return self.has_video & (end <= begin)

    @property
    def short_side(self) -> NDArray[np.int64]:
        """Shorter side of the picture in pixels, int64 (rows,); 0 where there is none, or it is unknown."""
        width, height = (values.numpy() for values in self._size.values())
        side: NDArray[np.int64] = np.minimum(width, height).astype(np.int64)
        return side

    def has_track(self, name: str) -> Flags:
        """Which have a further file of this name."""
        return self._tracks[name].paths.filled if name in self._tracks else np.zeros(len(self), dtype=bool)

    def span(self, medium: Medium | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what `Timeline.span` does, of all recordings."""
        start, end, *streams = (values.numpy() for values in self._seconds.values())
        if medium is None:
            return start, end
        first, last = streams[:2] if medium == "picture" else streams[2:]
        begin = np.maximum(start, first)
        return begin, np.maximum(begin, np.minimum(end, last))


class _Files:
    """A column of files."""

    def __init__(self, paths: pa.ChunkedArray, known: pa.Table) -> None:
        self.paths = Words(paths)
        there = [name for name in ("bytes", "modified") if name in known.column_names]
        self._numbers = {name: numbers(known.column(name)) for name in there}
        # Of a recording's own file the digest is read where there is doubt: it would take most of the memory.
        self._digests = Words(known.column("digest")) if "digest" in known.column_names else None

    @classmethod
    def of(cls, table: pa.Table) -> _Files:
        """Return the recordings' own files."""
        return cls(table.column("path"), table.select([n for n in ("bytes", "modified") if n in table.column_names]))

    def __getitem__(self, row: int) -> File:
        known = {name: int(values[row]) for name, values in self._numbers.items()}
        digest = self._digests[row] if self._digests is not None else ""
        return File(self.paths[row] or "", **known, digest=digest or "")


def _tracks(table: pa.Table) -> dict[str, _Files]:
    """Return the further files, a column for each name; an index of before has none."""
    if "tracks" not in table.column_names:
        return {}
    paths = in_one_piece(table.column("tracks"))
    known = in_one_piece(table.column("track_files")) if "track_files" in table.column_names else None
    found = {}
    for name in sorted(set(paths.keys.to_pylist())):
        about = {} if known is None else {"file": pc.map_lookup(known, name, "first")}
        facts_of = pa.table(about).flatten() if about else pa.table({})
        facts_of = facts_of.rename_columns([column.removeprefix("file.") for column in facts_of.column_names])
        found[name] = _Files(pa.chunked_array([pc.map_lookup(paths, name, "first")]), facts_of)
    return found
