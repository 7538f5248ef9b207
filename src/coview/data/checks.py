"""What a card and a table of recordings must hold before anything is made of them."""

from __future__ import annotations

import math
from collections.abc import Collection as Names
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from coview.data.recording import SPLITS
from coview.data.tables import in_one_piece
from coview.errors import UsageError, shown
from coview.files import read_json, sha256_of


def read_about(path: Path, formats: Names[int], kinds: Mapping[str, type], remedy: str) -> dict[str, Any]:
    """Return a card, such as collection.json.

    Args:
        formats: the formats that can be read.
        kinds: what the card must hold -> of which type; classes must be different words in order.

    Raises:
        UsageError: no JSON object, another format, or something is lacking or of another type; names the file.
    """
    about = read_json(path, "a card of coview", remedy=remedy)
    if type(about.get("format")) is not int or about["format"] not in formats:
        raise UsageError(
            f"{path}: format {about.get('format')!r}, but this version reads {min(formats)} to {max(formats)}; {remedy}"
        )
    for name, kind in kinds.items():
        value = about.get(name)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UsageError(f"{path}: {name!r} is {_short(value)}, expected {kind.__name__}; {remedy}")
        if isinstance(value, (int, float)) and not math.isfinite(value):
            raise UsageError(f"{path}: {name!r} is {value}; {remedy}")
    classes = about.get("classes", [])
    if not all(isinstance(name, str) for name in classes) or classes != sorted(set(classes)):
        raise UsageError(f"{path}: 'classes' is no list of different words in order; {remedy}")
    return about


def _short(value: Any) -> str:
    return "lacking" if value is None else shown(repr(value)[:60])


def check_digest(path: Path, digest: Any, remedy: str) -> None:
    """Return when a file is the one whose digest the card holds; a card of an earlier version holds none.

    Raises:
        UsageError: it is another, or damaged.
    """
    if digest is None:
        return
    try:
        same = path.is_file() and sha256_of(path) == digest
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
    if not same:
        raise UsageError(f"{path}: it is not what was written with its card (changed, damaged or gone); {remedy}")


def check_rows(path: Path, table: pa.Table, classes: list[str], remedy: str) -> None:
    """Return when the rows of a table of recordings can be true.

    Raises:
        UsageError: ids not different or not in order, times that are no span, labels that are no class, unknown splits;
            names the file.
    """

    def require(holds: pa.ChunkedArray | pa.Scalar, what: str) -> None:
        if pc.all(holds).as_py() is False:
            raise UsageError(f"{path}: {what}; {remedy}")

    ids = in_one_piece(table.column("id"))
    if len(ids) > 1:
        # Python orders words by their code points; in UTF-8 the bytes are in the same order.
        first, second = ids.slice(0, len(ids) - 1), ids.slice(1)
        require(pc.less(first, second), "its ids are not different and in order")
    for begin, end in (("start", "end"), ("video_start", "video_end"), ("audio_start", "audio_end")):
        one, two = table.column(begin), table.column(end)
        require(pc.and_(pc.is_finite(one), pc.is_finite(two)), f"a {begin} or {end} is no number")
        require(pc.less_equal(one, two), f"a {begin} lies after its {end}")
    for name, allowed in (("label", classes), ("split", [*SPLITS, ""])):
        there = pc.unique(table.column(name)).drop_null()
        require(pc.is_in(there, pa.array(allowed, pa.string())), f"a {name} is none of those in the card")
