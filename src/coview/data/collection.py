"""A collection: an immutable, ordered index of recordings, and the files that could not be read and why.

On disk a folder of `recordings.parquet` (one row per recording, ordered by id), `quarantine.parquet` and
`collection.json`. Everything downstream names a recording by its id, or by its row in the collection.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import types
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coview.data.adapters import Refused
from coview.errors import UsageError

FORMAT = 1
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One row of a collection; times are seconds on the file's clock, on which its first stream starts at 0.

    Attributes:
        path: relative to the collection's root where the file lies below it, else absolute.
        start, end: the span that views are cut from; duration is end - start.
        video_start, video_end, audio_start, audio_end: where the streams begin and end in the file; 0 when absent.
        width, height: as displayed, after rotation by `rotation` degrees.
        constant_rate: all frames are equally long.
        keyframe_seconds: when the key frames are shown.
        peak: largest absolute sample of the sound, full scale 1; `silent` is a track that is there but says nothing.
        digest: SHA-256 of the file's bytes.
        flags: short words for what is odd about the recording, such as "silent" or "rotated".
        folds: its split in each official fold of the data set, from fold 1 on; "" where a fold leaves it out.
    """

    id: str
    path: str
    start: float
    end: float
    duration: float
    has_video: bool
    has_audio: bool
    video_start: float = 0.0
    video_end: float = 0.0
    audio_start: float = 0.0
    audio_end: float = 0.0
    width: int = 0
    height: int = 0
    fps: float = 0.0
    constant_rate: bool = True
    frames: int = 0
    rotation: int = 0
    keyframe_seconds: tuple[float, ...] = ()
    sample_rate: int = 0
    channels: int = 0
    peak: float = 0.0
    silent: bool = False
    video_codec: str = ""
    audio_codec: str = ""
    bytes: int = 0
    digest: str = ""
    flags: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None
    caption: str | None = None
    group: str | None = None
    folds: tuple[str, ...] = ()


class Collection:
    """A collection in memory: an Arrow table, from which recordings are taken as they are asked for.

    Attributes:
        folder: where it lies.
        table: the rows, one column per field of `Recording`; for collections that are too long for a list.
        about: the contents of collection.json: format, source, root, counts, flags, classes, fingerprint, report.
    """

    def __init__(self, folder: Path, table: pa.Table, about: Mapping[str, Any]) -> None:
        self.folder, self.table, self.about = folder, table, dict(about)

    @classmethod
    def open(cls, folder: str | Path) -> Collection:
        """Read a collection.

        Raises:
            UsageError: the folder is no collection, or one of a later format.
        """
        folder = Path(folder)
        card = folder / "collection.json"
        if not card.is_file():
            raise UsageError(f"{folder} is not a collection (it has no collection.json); make one by `coview index`")
        about = json.loads(card.read_text(encoding="utf-8"))
        if about.get("format") != FORMAT:
            raise UsageError(
                f"{card}: format {about.get('format')!r}, but this version reads {FORMAT}; index the source again"
            )
        return cls(folder, pq.read_table(folder / "recordings.parquet"), about)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Recording:
        return _recording(self.table.slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Recording]:
        for piece in self.table.to_batches(max_chunksize=1024):  # many at once: a row at a time is ten times slower
            yield from map(_recording, piece.to_pylist())

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
        """Hash of the ordered ids, contents and spans."""
        return str(self.about["fingerprint"])

    @property
    def root(self) -> Path:
        """The folder that relative paths start from."""
        return self.folder / str(self.about["root"])  # an absolute root replaces the folder

    def column(self, name: str) -> list[Any]:
        """One field of all recordings."""
        values: list[Any] = self.table.column(name).to_pylist()
        return values

    def path(self, recording: Recording) -> Path:
        """Return where a recording's file lies."""
        return self.root / recording.path

    @property
    def folds(self) -> int:
        """How many official folds the data set has; 0 where it has none."""
        return max(map(len, self._folds()), default=0)

    def _folds(self) -> list[list[str]]:
        return self.column("folds") if "folds" in self.table.column_names else []  # older collections lack it

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
        given = self.column("split")
        if fold is not None:
            given = [folds[fold - 1] if len(folds) >= fold else "" for folds in self._folds()]
        elif not any(given):
            given = [split_of(group or name) for name, group in zip(self.ids, self.column("group"), strict=True)]
        table = self.table.filter(pa.array([value == split for value in given], pa.bool_()))
        if not table.num_rows:
            raise UsageError(
                f"{self.folder}: no recording belongs to the split {split!r}; found {dict(Counter(given))}"
            )
        return Collection(self.folder, table, {**self.about, "fingerprint": fingerprint_of(table)})

    def quarantine(self) -> list[Refused]:
        """Return the files that could not be read, and why."""
        return [Refused(**row) for row in pq.read_table(self.folder / "quarantine.parquet").to_pylist()]


def split_of(name: str) -> Split:
    """Return the split of a recording that has been given none: 80 % train, 10 % validation, 10 % test.

    SHA-256 of "split/" + name, modulo 10: 0 to 7, 8 and 9. It depends on the name alone, so that a growing collection
    never moves a recording from one split to another. The name is the group's where there is one, else the id.
    """
    bucket = int.from_bytes(hashlib.sha256(f"split/{name}".encode()).digest()[:8], "big") % 10
    return "train" if bucket < 8 else "validation" if bucket == 8 else "test"


def fingerprint_of(table: pa.Table) -> str:
    """Return 16 hexadecimal digits that change with any id, content, span or label, and with their order."""
    digest = hashlib.sha256()
    columns = (table.column(name).to_pylist() for name in ("id", "digest", "start", "end", "label"))
    for values in zip(*columns, strict=True):
        digest.update(json.dumps(values).encode())
    return digest.hexdigest()[:16]


def write_tables(
    folder: Path, recordings: Sequence[Recording], refused: Sequence[Refused], about: Mapping[str, Any]
) -> None:
    """Write the three files of a collection into an existing folder, recordings ordered by id.

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
    table = pa.Table.from_pylist([dataclasses.asdict(recording) for recording in ordered], schema=_schema(Recording))
    quarantine = pa.Table.from_pylist(
        [dataclasses.asdict(row) for row in sorted(refused, key=lambda row: row.path)], schema=_schema(Refused)
    )
    pq.write_table(table, folder / "recordings.parquet")
    pq.write_table(quarantine, folder / "quarantine.parquet")
    flags = Counter(flag for recording in ordered for flag in recording.flags)
    card = {
        "format": FORMAT,
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
        "classes": sorted({recording.label for recording in ordered if recording.label is not None}),
        "fingerprint": fingerprint_of(table),
    }
    (folder / "collection.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _recording(fields: dict[str, Any]) -> Recording:
    for name in ("flags", "keyframe_seconds", "folds"):
        fields[name] = tuple(fields.get(name, ()))
    return Recording(**fields)


_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
}


def _schema(kind: type[Any]) -> pa.Schema:
    fields = []
    for name, hint in typing.get_type_hints(kind).items():
        optional = isinstance(hint, types.UnionType)
        plain = typing.get_args(hint)[0] if optional else hint
        fields.append(pa.field(name, _ARROW[plain], nullable=optional))
    return pa.schema(fields)
