"""One row of a collection, and the columns that rows are kept in."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One row of a collection; times are seconds on the file's clock, on which its first stream starts at 0.

    Attributes:
        path: relative to the collection's root where the file lies below it, else absolute; as text
            (`identity.real_path` makes a path of it).
        start, end: the span that views are cut from; duration is end - start.
        video_start, video_end, audio_start, audio_end: where the streams begin and end in the file; 0 when absent.
        width, height: as displayed, after rotation by `rotation` degrees.
        constant_rate: all frames are equally long.
        keyframe_seconds: when the key frames are shown.
        peak: largest absolute sample of the sound, full scale 1; `silent` is a track that is there but says nothing.
        digest: SHA-256 of the file's bytes.
        content: digest of what the file shows and sounds like, decoded; copies in other files share it.
        modified: when the file was last changed, ns since 1970; 0 where that is not known.
        flags: short words for what is odd about the recording, such as "silent" or "rotated".
        folds: its split in each official fold of the data set, from fold 1 on; "" where a fold leaves it out.
        labels: of several classes at once: class -> 1 present, 0 unclear (never counted), -1 absent.
        tracks: other files of the same recording by name, such as "depth" or "subtitles"; paths as `path`.
        track_files: name of a track -> bytes, time of change and digest of its file.
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
    content: str = ""
    modified: int = 0
    flags: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None
    caption: str | None = None
    group: str | None = None
    folds: tuple[str, ...] = ()
    tracks: Mapping[str, str] = field(default_factory=dict)
    track_files: Mapping[str, TrackFile] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrackFile:
    """What is known of the file of a track."""

    bytes: int
    modified: int
    digest: str


_TRACK_FILE = pa.struct([("bytes", pa.int64()), ("modified", pa.int64()), ("digest", pa.string())])
_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[float, ...]: pa.list_(pa.float64()),
    Mapping[str, str]: pa.map_(pa.string(), pa.string()),
    Mapping[str, int]: pa.map_(pa.string(), pa.int64()),
    Mapping[str, TrackFile]: pa.map_(pa.string(), _TRACK_FILE),
}


def schema_of(kind: type[Any]) -> pa.Schema:
    """Return the columns that instances of a dataclass are kept in, one per field."""
    fields = []
    for name, hint in typing.get_type_hints(kind).items():
        optional = isinstance(hint, types.UnionType)
        plain = typing.get_args(hint)[0] if optional else hint
        fields.append(pa.field(name, _ARROW[plain], nullable=optional))
    return pa.schema(fields)


# A row's `identity` is a hash of all that views and protocols read of it (`identity_of`).
SCHEMA = schema_of(Recording).append(pa.field("identity", pa.int64(), nullable=False))
# Columns that earlier versions did not write; a table may lack them.
LATER = frozenset({"folds", "content", "modified", "tracks", "track_files", "labels", "identity"})


def table_of(recordings: Sequence[Recording]) -> pa.Table:
    """Return rows as a table."""
    return pa.Table.from_pylist([_fields(recording) for recording in recordings], schema=SCHEMA)


def _fields(recording: Recording) -> dict[str, Any]:
    fields = dataclasses.asdict(recording) | {"identity": identity_of(recording)}
    return fields | {name: list(fields[name].items()) for name in ("tracks", "track_files", "labels")}


def identity_of(recording: Recording) -> int:
    """Return 64 bits that change with every field of a recording, but with where files lie and when they were touched.

    They are the first eight bytes of the SHA-256 of the fields' names and values as JSON.
    """
    fields = dataclasses.asdict(recording)
    for name in ("path", "modified"):
        del fields[name]
    fields["tracks"] = sorted(recording.tracks)
    fields["track_files"] = {name: known.digest for name, known in sorted(recording.track_files.items())}
    if not recording.labels:
        del fields["labels"]  # as before there was this column
    text = json.dumps(fields, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def recordings_of(table: pa.Table) -> Iterator[Recording]:
    """Yield the rows of a table, which may lack the columns of later versions."""
    for piece in table.to_batches(max_chunksize=1024):  # many at once: a row at a time is ten times slower
        yield from map(_recording, piece.to_pylist())


def _recording(fields: dict[str, Any]) -> Recording:
    for name in ("flags", "keyframe_seconds", "folds"):
        fields[name] = tuple(fields.get(name, ()))
    fields.pop("identity", None)
    fields["tracks"], fields["labels"] = dict(fields.get("tracks", ())), dict(fields.get("labels", ()))
    fields["track_files"] = {name: TrackFile(**known) for name, known in fields.get("track_files", ())}
    return Recording(**fields)


def split_of(name: str) -> Split:
    """Return the split of a recording that has been given none: 80 % train, 10 % validation, 10 % test.

    SHA-256 of "split/" + name, modulo 10: 0 to 7, 8 and 9. It depends on the name alone, so that a growing collection
    never moves a recording from one split to another. The name is the group's where there is one, else the id.
    """
    bucket = int.from_bytes(hashlib.sha256(f"split/{name}".encode()).digest()[:8], "big") % 10
    return "train" if bucket < 8 else "validation" if bucket == 8 else "test"
