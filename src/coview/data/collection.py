"""A collection: an immutable, ordered index of recordings, and the files that could not be read and why.

On disk a folder of `recordings.parquet` (one row per recording, ordered by id), `quarantine.parquet` and
`collection.json`. Everything downstream names a recording by its id, or by its row in the collection.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from coview.data.adapters import Refused
from coview.data.checks import check_digest, check_rows, read_about
from coview.data.identity import real_path
from coview.data.recording import LATER, SCHEMA, Recording, Split, recordings_of, schema_of, split_of, table_of
from coview.data.tables import fingerprint_of, read_table, write_table
from coview.errors import UsageError
from coview.files import sha256_of, write_aside

FORMATS = (1, 2)  # 2 keeps digests of contents and of its own table, times of change, tracks, and whole identities
_CARD, _ROWS, _QUARANTINE = "collection.json", "recordings.parquet", "quarantine.parquet"
_REMEDY = "index the source again"
# What sources are made of; the rest stays on the disk until it is asked for.
_OFTEN = frozenset({
    "id", "path", "start", "end", "has_video", "has_audio", "video_start", "video_end", "audio_start", "audio_end",
    "silent", "bytes", "modified", "flags", "label", "split", "caption", "group", "identity",
})  # fmt: skip
# What collection.json must hold -> of which type.
_ABOUT: dict[str, type] = {
    "root": str,
    "fingerprint": str,
    "classes": list,
    "counts": dict,
    "flags": dict,
    "reasons": dict,
    "ignored": dict,
    "report": dict,
}


class Collection:
    """A collection, or a part of one: columns of an Arrow table, and recordings taken from them.

    Attributes:
        folder: where it lies.
        about: the contents of collection.json: format, source, root, counts, flags, classes, fingerprint, report.
    """

    def __init__(self, folder: Path, table: pa.Table, about: Mapping[str, Any]) -> None:
        self.folder, self.about = folder, dict(about)
        self._table = table
        self._unread: frozenset[str] = frozenset()  # columns that are still on the disk
        self._chosen: pa.Array | None = None  # the part's rows in the file; None for all of them

    @classmethod
    def open(cls, folder: str | Path) -> Collection:
        """Read a collection; columns that are seldom wanted stay on the disk until they are.

        Raises:
            UsageError: the folder is no collection, one of a later format, or a damaged one; names the file.
        """
        folder = Path(folder)
        if not (folder / _CARD).is_file():
            raise UsageError(f"{folder} is not a collection (it has no {_CARD}); make one by `coview index`")
        about = read_about(folder / _CARD, FORMATS, _ABOUT, _REMEDY)
        check_digest(folder / _ROWS, about.get("digest"), _REMEDY)
        found = cls(folder, cls._read(folder, _OFTEN), about)
        found._unread = frozenset(set(SCHEMA.names) - _OFTEN)
        if about["counts"].get("recordings") != len(found):
            counted = about["counts"].get("recordings")
            raise UsageError(f"{folder / _CARD}: it counts {counted} recordings, {_ROWS} holds {len(found)}; {_REMEDY}")
        check_rows(folder / _ROWS, found._table, about["classes"], _REMEDY)
        return found

    @classmethod
    def _read(cls, folder: Path, columns: Names[str]) -> pa.Table:
        return read_table(folder / _ROWS, SCHEMA, later=LATER, columns=columns, remedy=_REMEDY)

    @classmethod
    def of(cls, recordings: Sequence[Recording]) -> Collection:
        """Return recordings, whose paths are absolute, as a collection that lies in memory alone."""
        return cls(Path(), table_of(recordings), {"root": ".", "classes": [], "fingerprint": ""})

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, row: int) -> Recording:
        return next(recordings_of(self.table.slice(row, 1)))

    def __iter__(self) -> Iterator[Recording]:
        return recordings_of(self.table)

    @property
    def table(self) -> pa.Table:
        """The rows, one column per field of `Recording` and `identity` (older collections lack some)."""
        return self.columns(SCHEMA.names)

    def columns(self, names: Names[str]) -> pa.Table:
        """Return some columns of all rows, as far as the collection has them, in the order of the schema."""
        if missing := self._unread & set(names):
            read = self._read(self.folder, missing)
            read = read if self._chosen is None else read.take(self._chosen)
            for name in read.column_names:
                self._table = self._table.append_column(read.schema.field(name), read.column(name))
            self._unread -= missing
        there = set(self._table.column_names) & set(names)
        return self._table.select([name for name in SCHEMA.names if name in there])

    @property
    def recordings(self) -> list[Recording]:
        """All rows as a list."""
        return list(self)

    @property
    def ids(self) -> list[str]:
        """The ids in order."""
        return self.column("id")

    @property
    def classes(self) -> list[str]:
        """The distinct labels in alphabetical order: the same for every split."""
        return list(self.about["classes"])

    @property
    def fingerprint(self) -> str:
        """Hash of all that views and protocols read of the ordered rows (`tables.fingerprint_of`)."""
        return str(self.about["fingerprint"])

    @property
    def root(self) -> Path:
        """The folder that relative paths start from."""
        return self.folder / real_path(str(self.about["root"]))  # an absolute root replaces the folder

    @property
    def digests(self) -> list[str] | None:
        """SHA-256 of every recording's file; None where the collection does not know them."""
        return self._known("digest")

    @property
    def contents(self) -> list[str] | None:
        """Digest of what every recording's file shows and sounds like; None where the collection does not know."""
        return self._known("content")

    def _known(self, name: str) -> list[str] | None:
        found = self.columns([name])
        if name not in found.column_names:
            return None
        values: list[str] = found.column(name).to_pylist()
        return values if all(values) else None

    def column(self, name: str) -> list[Any]:
        """One field of all recordings."""
        values: list[Any] = self.columns([name]).column(name).to_pylist()
        return values

    def path(self, recording: Recording) -> Path:
        """Return where a recording's file lies."""
        return self.root / real_path(recording.path)

    @property
    def folds(self) -> int:
        """How many official folds the data set has; 0 where it has none."""
        return max(map(len, self._folds()), default=0)

    def _folds(self) -> list[list[str]]:
        return self.column("folds") if "folds" in self.columns(["folds"]).column_names else []

    def select(self, *, split: Split | None = None, fold: int | None = None) -> Collection:
        """Return the part that belongs to a split; all of it for None.

        The recordings' own split decides where any of them has one; otherwise `split_of` their group or id does. With
        a fold (1 is the first), the official split in that fold decides.
        """
        if split is None:
            return self
        if fold is not None and not 1 <= fold <= self.folds:
            has = f"it has the folds 1 to {self.folds}" if self.folds else "it has no official folds"
            raise UsageError(f"{self.folder}: there is no fold {fold}; {has}")
        if fold is None:
            given = self.splits()
        else:
            given = pa.array([row[fold - 1] if len(row) >= fold else "" for row in self._folds()], pa.string())
        rows = pc.indices_nonzero(pc.fill_null(pc.equal(given, split), False))
        if not len(rows):
            found = ", ".join(f"{count} {name or 'in no part'}" for name, count in Counter(given.to_pylist()).items())
            raise UsageError(
                f"{self.folder}: no recording belongs to the split {split!r} (there are {found}); index more "
                "recordings, or say the parts in a manifest's column 'split'"
            )
        part = Collection(self.folder, self._table.take(rows), self.about)
        part._unread = self._unread
        part._chosen = rows if self._chosen is None else self._chosen.take(rows)
        known = part.columns(["identity"]) if "identity" in part.columns(["identity"]).column_names else part.table
        part.about["fingerprint"] = fingerprint_of(known, self.classes)
        return part

    def splits(self) -> pa.Array:
        """Return every recording's split, as `select` takes it."""
        given = self.columns(["split"]).column("split").combine_chunks()
        if pc.any(pc.not_equal(given, "")).as_py():
            return given
        groups = self.column("group")
        return pa.array([split_of(group or name) for name, group in zip(self.ids, groups, strict=True)], pa.string())

    def quarantine(self) -> list[Refused]:
        """Return the files that could not be read, and why.

        Raises:
            UsageError: the table of them is damaged.
        """
        table = read_table(self.folder / _QUARANTINE, schema_of(Refused), remedy=_REMEDY)
        return [Refused(**row) for row in table.to_pylist()]


def write_tables(
    folder: Path, recordings: Sequence[Recording], refused: Sequence[Refused], about: Mapping[str, Any]
) -> None:
    """Write the three files of a collection into an existing folder, recordings ordered by id, the card last.

    `about` holds source, root, ignored and report; counts, flags, classes and fingerprint are computed here.

    Raises:
        UsageError: two recordings have one id; names both files.
    """
    ordered = sorted(recordings, key=lambda recording: recording.id)
    for one, other in itertools.pairwise(ordered):
        if one.id == other.id:
            raise UsageError(
                f"two recordings have the id {one.id!r}: {one.path} and {other.path}; give the ids in a manifest, "
                "or rename one of the files"
            )
    table = table_of(ordered)
    rows = [dataclasses.asdict(row) for row in sorted(refused, key=lambda row: row.path)]
    write_table(table, folder / _ROWS)
    write_table(pa.Table.from_pylist(rows, schema=schema_of(Refused)), folder / _QUARANTINE)
    classes = sorted({recording.label for recording in ordered if recording.label is not None})
    flags = Counter(flag for recording in ordered for flag in recording.flags)
    card = {
        "format": FORMATS[-1],
        **about,
        "counts": {
            "recordings": len(ordered),
            "quarantined": len(refused),
            "ignored": sum(about["ignored"].values()),
            "with_video": pc.sum(table.column("has_video")).as_py() or 0,
            "with_audio": pc.sum(table.column("has_audio")).as_py() or 0,
            "with_both": sum(recording.has_video and recording.has_audio for recording in ordered),
            "labelled": sum(recording.label is not None for recording in ordered),
            "hours": round(sum(recording.duration for recording in ordered) / 3600, 4),
        },
        "flags": dict(sorted(flags.items())),
        "reasons": dict(sorted(Counter(row.reason for row in refused).items())),
        "classes": classes,
        "fingerprint": fingerprint_of(table, classes),
        "digest": sha256_of(folder / _ROWS),
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_aside(folder / _CARD, text.encode("utf-8", "backslashreplace").decode())  # of names that are not UTF-8
