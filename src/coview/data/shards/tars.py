"""The tars of a prepared copy, read at given places, and the table that says where."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from coview.data.shards.checks import REMEDY, wrong_description
from coview.data.shards.layout import BLOCK, padded, shard_name
from coview.errors import MediaError
from coview.media.regular import is_regular
from coview.remote import present

_MOST_OPEN = 64  # tars that are open at once in a process
_MOST_KNOWN = 256  # clips of which a process keeps what KEY.json says: about 5 MB, and several of a window's laps


@dataclass(frozen=True)
class Clips:
    """The offset table as arrays, a value per clip; those of recording `row` are numbers first[row] to first[row + 1].

    Attributes:
        start, end: float64 seconds of the recording.
        clip: which one of its recording it is.
        shard, offset, bytes, json_bytes: where the clip's members are, how long they are, and how long KEY.json is.
    """

    first: Any
    clip: Any
    start: Any
    end: Any
    shard: Any
    offset: Any
    bytes: Any
    json_bytes: Any

    @classmethod
    def of(cls, table: pa.Table, recordings: int) -> Clips:
        """Return the columns of a table."""
        names = ("clip", "start", "end", "shard", "offset", "bytes", "json_bytes")
        first = np.searchsorted(table.column("row").to_numpy(), np.arange(recordings + 1))
        return cls(first, *(table.column(name).to_numpy() for name in names))

    def of_row(self, row: int) -> tuple[int, int]:
        """Return the first clip of a recording and the one after its last."""
        return int(self.first[row]), int(self.first[row + 1])


@dataclass(frozen=True)
class Members:
    """A stored clip: what its KEY.json says, and where the members after it begin."""

    shard: int
    offset: int
    about: dict[str, Any]

    @functools.cached_property
    def pictures(self) -> list[int]:
        """Where the header of every picture lies, and at last where that of one more would."""
        sound = BLOCK + padded(self.about["flac_header"] + self.sounds[-1]) if "samples" in self.about else 0
        sizes = (BLOCK + padded(size) for size in self.about["frame_bytes"])
        return list(itertools.accumulate(sizes, initial=self.offset + sound))

    @functools.cached_property
    def sounds(self) -> list[int]:
        """Where every FLAC frame begins behind the FLAC header, and at last where the sound ends."""
        return list(itertools.accumulate(self.about["flac_frames"], initial=0))


def drop_oldest(known: dict[int, Any]) -> None:
    """Drop what has been there for longest; where threads do so at once, one of them may find nothing to do."""
    with contextlib.suppress(RuntimeError, StopIteration):  # changed meanwhile
        known.pop(next(iter(known)), None)


@dataclass
class Tars:
    """The tars of a folder; each is opened when it is first needed, by every process for itself."""

    folder: Path
    settings: Mapping[str, Any]
    _open: dict[int, BinaryIO] = field(default_factory=dict)
    _known: dict[int, Members] = field(default_factory=dict)

    def name(self, shard: int) -> str:
        """Return the path of a tar, for messages."""
        return str(self.folder / shard_name(shard))

    def members(self, clips: Clips, clip: int, name: str) -> Members:
        """Read KEY.json of a clip of the recording `name`, and make sure that it is of that clip.

        Raises:
            MediaError: "missing" or "truncated", or "changed": another clip lies there.
        """
        if clip in self._known:
            return self._known[clip]
        shard, first, size = int(clips.shard[clip]), int(clips.offset[clip]) + BLOCK, int(clips.json_bytes[clip])
        try:
            about = json.loads(self.read(shard, first, size))
        except (ValueError, RecursionError) as error:
            raise self.damaged(shard, f"no JSON at {first}") from error
        wanted = {"id": name, "clip": int(clips.clip[clip])}
        wanted |= {"start": float(clips.start[clip]), "end": float(clips.end[clip])}
        wrong = wrong_description(about, wanted, int(clips.bytes[clip]), size, self.settings)
        if wrong is not None:
            raise MediaError(self.name(shard), "changed", f"{wrong} (at {first}); {REMEDY}")
        if len(self._known) >= _MOST_KNOWN:
            drop_oldest(self._known)
        self._known[clip] = Members(shard, first + padded(size), about)
        return self._known[clip]

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Return `size` bytes at `offset`.

        Raises:
            MediaError: "missing" or "truncated".
        """
        if shard not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self._open.pop(next(iter(self._open))).close()
            try:
                present(self.folder / shard_name(shard))
            except OSError as error:
                raise MediaError(self.name(shard), "unreadable", f"storage does not give it: {error}") from error
            if not is_regular(self.name(shard)):
                raise MediaError(self.name(shard), "missing", f"it is no regular file, or not there; {REMEDY}")
            try:
                self._open[shard] = Path(self.name(shard)).open("rb", buffering=0)  # noqa: SIM115 (stays open)
            except OSError as error:
                raise MediaError(self.name(shard), "missing", f"it cannot be opened: {error.strerror}") from error
        try:
            data = os.pread(self._open[shard].fileno(), size, offset)
        except OSError as error:
            raise MediaError(self.name(shard), "unreadable", f"it cannot be read: {error.strerror}") from error
        if len(data) < size:
            raise self.damaged(shard, f"it ends before {offset + size}")
        return data

    def damaged(self, shard: int, message: str) -> MediaError:
        """Return the error of a tar that is not what was written."""
        return MediaError(self.name(shard), "truncated", f"{message}; {REMEDY}")

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "settings": self.settings, "_open": {}, "_known": {}}
