"""Stored embeddings, read: arrays on disk that anybody may have written, and a card that says whose they are.

    card.json              what made the numbers; written first
    recordings.parquet     row, id, path of every recording
    video.npy              float32 or float16 (recordings, windows, D), zero where absent
    video.present.npy      bool (recordings, windows)
    video.start.npy        float64 (recordings, windows), in seconds
    done/00000.json        SHA-256 of a part of the rows, and what of it could not be read; written last

A part counts when its numbers have the digest that its file in `done/` says. Stores of format 1, which held every part
in files of its own, are read as well.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coview.errors import UsageError
from coview.files import read_json

FORMAT = 2
_REMEDY = "embed again by `coview embed`, which repairs what is damaged"
_NAME = re.compile(r"\w[\w.@+-]{0,99}", re.ASCII)
_PARTS = 1 << 20  # more than any store has
_PART_1 = 1024  # recordings in a part of format 1

Array = NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """A complete store of the embeddings of N recordings, W windows each; nothing in it is copied into memory.

    Attributes:
        folder, card: where it lies, and the contents of card.json.
        clips: name of an embedding -> (N, W, D).
        present: name -> bool (N, W).
        start: name -> float64 (N, W).
        ids, paths: of the recordings; a path is empty where there is no file.
        problems: (id, reason) of what could not be read.
        digest: SHA-256 of all numbers.
    """

    folder: Path
    card: Mapping[str, Any]
    clips: Mapping[str, Array]
    present: Mapping[str, Array]
    start: Mapping[str, Array]
    ids: list[str]
    paths: list[str]
    problems: list[tuple[str, str]]
    digest: str

    @property
    def views(self) -> list[str]:
        """Names of the embeddings that some recording has."""
        return [name for name, there in self.present.items() if bool(there.any())]


@dataclass(frozen=True)
class Part:
    """What `done/` says of a part: the digest of its numbers, and (row, reason) of what could not be read."""

    digest: str
    problems: list[tuple[int, str]]


def open_stored(folder: Path, checked: bool = False) -> Stored:
    """Open a complete store and check that its numbers are those that were written.

    Args:
        checked: somebody has just done that.

    Raises:
        UsageError: the folder holds no store, or one that is incomplete, damaged or of another format.
    """
    card = read_card(folder)
    if card["format"] == 1:
        return _open_1(folder, card)
    arrays = map_all(folder, card)
    parts = [read_part(folder, number) for number in range(part_count(card))]
    lacking = sum(part is None for part in parts) if card["views"] else max(1, len(parts))
    if lacking:
        raise UsageError(
            f"{folder}: {lacking} of {len(parts)} parts are missing; the embedding was stopped, run the same "
            "`coview embed` again to complete it"
        )
    found = [part for part in parts if part is not None]
    if not checked:
        damaged = [n for n, part in enumerate(found) if part.digest != digest_of(arrays, rows_of(card, n))]
        if damaged:
            raise UsageError(
                f"{folder}: {len(damaged)} of {len(parts)} parts have changed since they were written; {_REMEDY}"
            )
    ids, paths = _recordings(folder, card)
    problems = [(row, reason) for part in found for row, reason in part.problems]
    if any(not 0 <= row < len(ids) for row, _ in problems):
        raise UsageError(f"{folder}: done/ names recordings that are not there; {_REMEDY}")
    return Stored(
        folder,
        card,
        {name: three[0] for name, three in arrays.items()},
        {name: three[1] for name, three in arrays.items()},
        {name: three[2] for name, three in arrays.items()},
        ids,
        paths,
        [(ids[row], reason) for row, reason in problems],
        hashlib.sha256("".join(part.digest for part in found).encode()).hexdigest(),
    )


def is_stored(folder: Path) -> bool:
    """Tell whether a folder holds stored embeddings."""
    return (folder / "card.json").is_file()


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a store.

    Raises:
        UsageError: there is none, it is damaged, or of another format.
    """
    file = folder / "card.json"
    if not file.is_file():
        raise UsageError(f"{folder} holds no embeddings (it has no card.json); make them by `coview embed`")
    remedy = "remove the folder and embed again"
    card = read_json(file, "the card of stored embeddings", remedy=remedy, limit=1 << 22)
    if card.get("format") not in (1, FORMAT):
        raise UsageError(f"{file}: format {card.get('format')!r}, but this version reads 1 and {FORMAT}; embed again")
    views, counts = card.get("views"), [card.get(name) for name in ("recordings", "windows")]
    counts += [card.get("part")] if card["format"] == FORMAT else []
    right = all(type(count) is int and 0 < count < 1 << 40 for count in counts) and isinstance(views, dict)
    right = right and all(_NAME.fullmatch(n) and type(w) is int and 0 < w < 1 << 30 for n, w in (views or {}).items())
    if not right or card["recordings"] > _PARTS * card.get("part", _PART_1):
        raise UsageError(f"{file}: recordings, windows, part or views are not what a store has; {remedy}")
    return card


def part_count(card: Mapping[str, Any]) -> int:
    """Return how many parts a store of such a card has."""
    return -(-int(card["recordings"]) // int(card["part"]))


def rows_of(card: Mapping[str, Any], number: int) -> slice:
    """Return the rows of a part."""
    return slice(number * card["part"], min((number + 1) * card["part"], card["recordings"]))


def read_part(folder: Path, number: int) -> Part | None:
    """Return what `done/` says of a part; None where it is not done, or what is there says nothing."""
    path = folder / "done" / f"{number:05d}.json"
    if not path.is_file():
        return None
    try:
        found = read_json(path, "a part of stored embeddings", limit=1 << 26)
        return Part(str(found["digest"]), [(int(row), str(reason)) for row, reason in found["problems"]])
    except (UsageError, KeyError, TypeError, ValueError):
        return None


def map_arrays(folder: Path, card: Mapping[str, Any], name: str, width: int) -> tuple[Array, Array, Array]:
    """Map the vectors, presence and starts of one embedding for reading.

    Raises:
        UsageError: a file is missing or damaged, or has another shape than the card says.
    """
    rows, windows = card["recordings"], card["windows"]
    kinds = {"": ((rows, windows, width), ("<f4", "<f2")), ".present": ((rows, windows), ("|b1",))}
    kinds |= {".start": ((rows, windows), ("<f8",))}
    found = []
    for end, (shape, types) in kinds.items():
        path = folder / f"{name}{end}.npy"
        try:
            if not path.is_file():
                raise ValueError("it is no regular file")
            # Copy-on-write: a tensor may not lie on memory that cannot be written to.
            array = np.load(path, mmap_mode="c", allow_pickle=False)
            if array.shape != shape or array.dtype.str not in types or not array.flags.c_contiguous:
                raise ValueError(f"it holds {array.dtype} {array.shape}, expected {types[0]} {shape}")
        except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError) as error:
            raise UsageError(f"{path}: cannot be read as stored embeddings ({error}); {_REMEDY}") from error
        found.append(array)
    return found[0], found[1], found[2]


def map_all(folder: Path, card: Mapping[str, Any]) -> dict[str, tuple[Array, Array, Array]]:
    """Map the arrays of all embeddings; see `map_arrays`."""
    return {name: map_arrays(folder, card, name, width) for name, width in card["views"].items()}


def digest_of(arrays: Mapping[str, tuple[Array, Array, Array]], rows: slice) -> str:
    """Return the SHA-256 of some rows of all arrays, in the order of their names."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        state.update(name.encode())
        for array in arrays[name]:
            state.update(np.ascontiguousarray(array[rows]).view(np.uint8).data)
    return state.hexdigest()


def _recordings(folder: Path, card: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    path = folder / "recordings.parquet"
    try:
        if not path.is_file() or pq.read_metadata(path).num_rows != card["recordings"]:
            raise ValueError(f"expected {card['recordings']} rows")
        table = pq.read_table(path, columns=["id", "path"])
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as the recordings of a store ({error}); {_REMEDY}") from error
    return [[str(value) for value in table.column(name).to_pylist()] for name in ("id", "path")]  # type: ignore[return-value]


def _open_1(folder: Path, card: Mapping[str, Any]) -> Stored:
    """Read a store of format 1 into memory: unit vectors of the windows that were present, part by part."""
    rows, windows = card["recordings"], card["windows"]
    try:
        names = [f"{number:05d}" for number in range(-(-rows // _PART_1))]
        missing = [name for name in names if not (folder / f"{name}.parquet").is_file()]
        if missing:
            raise UsageError(
                f"{folder}: {len(missing)} of {len(names)} parts are missing; the embedding was stopped by an older "
                "version; embed again into another folder"
            )
        tables = [_table_1(folder / f"{name}.parquet", windows) for name in names]
        whole = pa.concat_tables(tables)
        clips, present, start = {}, {}, {}
        for view, width in card["views"].items():
            vectors = [np.load(f, allow_pickle=False) for f in sorted(folder.glob(f"*.{view}.npy")) if f.is_file()]
            here = whole.filter(pc.equal(whole.column("view"), view))
            joined, row = np.concatenate(vectors), here.column("row").to_numpy()
            if joined.shape != (len(row), width) or row.min(initial=0) < 0 or row.max(initial=0) >= rows:
                raise ValueError(f"{view}: {joined.shape} vectors for {len(row)} lines")
            place = np.arange(len(row)) - np.searchsorted(row, row)  # windows of a recording follow each other
            shape, finite = (rows, int(place.max(initial=0)) + 1), np.isfinite(joined).all(1)
            clips[view], start[view] = np.zeros((*shape, width), np.float32), np.zeros(shape)
            present[view] = np.zeros(shape, bool)
            clips[view][row, place], present[view][row, place] = np.where(finite[:, None], joined, 0), finite
            start[view][row, place] = here.column("start").to_numpy()
        known = {
            int(r): (str(i), str(p)) for r, i, p in zip(*(whole.column(n).to_pylist() for n in _LINE), strict=True)
        }
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, MemoryError, pa.ArrowException) as error:
        raise UsageError(f"{folder}: cannot be read as embeddings of format 1 ({error}); {_REMEDY}") from error
    ids, paths = ([known.get(row, ("", ""))[place] for row in range(rows)] for place in (0, 1))
    whole_rows = {view: (clips[view], present[view], start[view]) for view in clips}
    return Stored(folder, card, clips, present, start, ids, paths, [], digest_of(whole_rows, slice(None)))


_LINE = ("row", "id", "path")


def _table_1(path: Path, windows: int) -> pa.Table:
    if pq.read_metadata(path).num_rows > _PART_1 * windows * 16:
        raise ValueError(f"{path.name} has more lines than a part")
    return pq.read_table(path, columns=["view", "start", *_LINE])
