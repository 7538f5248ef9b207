"""The rows of a collection as a source keeps them: columns that reading processes share, and the way to the files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from coview.data.columns import Words
from coview.data.identity import check, real_path, touched
from coview.data.recording import LATER, SCHEMA
from coview.data.tables import in_one_piece, read_table
from coview.data.timeline import Timelines
from coview.media.container import KINDS, Kind

# What a source is made of.
COLUMNS = (
    "id", "path", "start", "end", "video_start", "video_end", "audio_start", "audio_end", "has_video", "has_audio",
    "silent", "width", "height", "caption", "label", "flags", "bytes", "modified", "tracks", "track_files",
)  # fmt: skip
_LISTS = ("ids", "digests", "contents", "groups")  # made anew in each process that asks for them


class Rows:
    """Recordings of a collection, by row.

    Args:
        folder, root: where the collection lies, and where its relative paths start.
        table: its columns `COLUMNS`.
        timelines: of the table: what placing a cut needs.
        classes: names of the labels.

    Attributes:
        labels: int64 (rows,), -1 where unlabelled.
        mirrorable: bool (rows,).
    """

    def __init__(self, folder: Path, root: Path, table: pa.Table, timelines: Timelines, classes: Sequence[str]) -> None:
        self._folder, self._root = folder, root
        self.timelines, self._ids = timelines, Words(table.column("id"))
        number = pc.index_in(table.column("label"), pa.array(classes, pa.string()))
        self.labels = torch.from_numpy(pc.fill_null(number, -1).to_numpy().astype(np.int64))
        flags = table.column("flags")
        self.mirrorable = torch.from_numpy(~_flagged(flags, "nomirror"))
        self._sequential = {kind: torch.from_numpy(_flagged(flags, f"sequential-{kind}")) for kind in KINDS}

    def __len__(self) -> int:
        return len(self.timelines)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _LISTS}

    @cached_property
    def ids(self) -> list[str]:
        """The recordings' ids in order."""
        listed: list[str] = self._ids.arrow().to_pylist()
        return listed

    @cached_property
    def digests(self) -> list[str] | None:
        """The digest of every recording's file; None where the collection does not know all of them."""
        return _complete(self._digests)

    @cached_property
    def contents(self) -> list[str] | None:
        """The digest of what every recording shows and sounds like; None where the collection does not know all."""
        return _complete(self._column("content"))

    @cached_property
    def groups(self) -> list[str] | None:
        """The group of every recording, "" where it is in none; None where there is no collection to ask."""
        found = self._column("group")
        listed: list[str] | None = None if found is None else found.arrow().to_pylist()
        return listed

    @cached_property
    def _digests(self) -> Words | None:
        return self._column("digest")

    def digest(self, row: int) -> str | None:
        """Return the digest of a recording's file, None where it is not known."""
        return (self._digests[row] if self._digests is not None else None) or None

    def _column(self, name: str) -> Words | None:
        """Read a column of text that is seldom wanted; None where there is none."""
        column = self.column(name)
        return None if column is None else Words(column)

    def column(self, name: str) -> pa.ChunkedArray | None:
        """Read a column that is seldom wanted from the collection on the disk, in order; None where there is none."""
        path = self._folder / "recordings.parquet"
        if not path.is_file():
            return None
        table = read_table(path, SCHEMA, later=LATER, columns=["id", name], remedy="index the source again")
        if name not in table.column_names:
            return None
        rows = pc.index_in(self._ids.arrow(), pc.cast(table.column("id"), pa.large_string()))
        return table.column(name).take(rows)

    def sequential(self, row: int) -> list[Kind]:
        """Return the kinds of streams of a recording's file that are decoded from their beginning."""
        return [kind for kind, rows in self._sequential.items() if rows[row]]

    def path(self, row: int, track: str | None = None) -> Path:
        """Return where a recording's own file or one of its tracks lies, having checked that it is still the same.

        Raises:
            MediaError: "gone", or "changed".
        """
        recording = self.timelines[row]
        file = recording.tracks[track] if track else recording.file
        path = self._root / real_path(file.path)
        if file.bytes:
            digest = file.digest
            if not digest and not track and touched(path, file.modified):
                digest = self.digest(row) or ""
            check(path, size=file.bytes, modified=file.modified, digest=digest)
        return path


def _complete(column: Words | None) -> list[str] | None:
    if column is None or not column.filled.all():
        return None
    listed: list[str] = column.arrow().to_pylist()
    return listed


def _flagged(column: pa.ChunkedArray, flag: str) -> Any:
    """Return bool (rows,): which lists of flags hold one."""
    found = np.zeros(len(column), dtype=bool)
    lists = in_one_piece(column)
    rows, flags = pc.list_parent_indices(lists), pc.list_flatten(lists)
    found[rows.to_numpy()[np.asarray(pc.equal(flags, flag), dtype=bool)]] = True
    return found
