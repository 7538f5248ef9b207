"""What a prepared copy must hold before anything is made of it: its card, its offset table, and every KEY.json."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coview.data.checks import check_digest, check_rows, read_about
from coview.data.recording import LATER, SCHEMA
from coview.data.shards.layout import BLOCK, CARD, CLIP_SCHEMA, CLIPS, FORMAT, RECORDINGS, PrepareSettings, padded
from coview.data.tables import read_table
from coview.errors import UsageError

REMEDY = "prepare again: the same command mends what it can"
_MOST_JSON = 1 << 24  # bytes of a KEY.json: a hundred hours of 50 frames a second
_MOST_PIXELS = 1 << 26  # of a stored picture
_MOST_BYTES = 1 << 40  # of one clip
_KINDS: dict[str, type] = {"complete": bool, "settings": dict, "classes": list, "fingerprint": str, "shards": int}


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a finished prepared copy.

    Raises:
        UsageError: there is none, it is of a later format or damaged, or its preparation has not ended.
    """
    path = folder / CARD
    if not path.is_file():
        raise UsageError(f"{folder} is not a prepared copy (it has no {CARD}); make one by `coview prepare`")
    kinds = {name: kind for name, kind in _KINDS.items() if name != "fingerprint"}
    card = read_about(path, (FORMAT,), kinds, "prepare again")
    if not card["complete"]:
        raise UsageError(f"{folder}: its preparation was stopped; the same `coview prepare` command goes on from there")
    read_about(path, (FORMAT,), _KINDS, "prepare again")
    check_settings(path, card["settings"])
    return {**card, "root": "."}


def check_settings(path: Path, stored: Mapping[str, Any]) -> PrepareSettings:
    """Return the settings in a card.

    Raises:
        UsageError: some are lacking, unknown or impossible; names the file.
    """
    try:
        if any(isinstance(value, float) and not math.isfinite(value) for value in stored.values()):
            raise ValueError("a number is not finite")
        whole = (type(stored[name]) is int for name in ("size", "quality", "sample_rate", "recordings_per_shard"))
        if set(stored) != {field.name for field in dataclasses.fields(PrepareSettings)} or not all(whole):
            raise ValueError("other settings were expected")
        return PrepareSettings(**stored)
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{path}: its settings cannot be read ({error}); prepare again") from error


def read_tables(folder: Path, card: Mapping[str, Any]) -> tuple[pa.Table, pa.Table]:
    """Return the recordings and the clips of a finished copy.

    Raises:
        UsageError: a table is lacking or damaged, does not belong to the other or to the card; names the file.
    """
    path = folder / RECORDINGS
    check_digest(path, card.get("digest"), REMEDY)
    recordings = read_table(path, SCHEMA, later=LATER, remedy=REMEDY)
    check_rows(path, recordings, card["classes"], REMEDY)
    clips = read_table(folder / CLIPS, CLIP_SCHEMA, remedy=REMEDY)
    for file, table, name in ((path, recordings, "recordings"), (folder / CLIPS, clips, "clips")):
        if name in card and card[name] != table.num_rows:
            raise UsageError(f"{file}: it holds {table.num_rows} {name}, the card says {card[name]}; {REMEDY}")
    check_clips(folder / CLIPS, clips, recordings.column("id"), card["shards"])
    return recordings, clips


def check_clips(path: Path, clips: pa.Table, ids: pa.ChunkedArray, shards: int) -> None:
    """Return when an offset table can be true.

    Raises:
        UsageError: its rows are out of order or of other recordings, or places that no tar of ours has.
    """

    def require(holds: Any, what: str) -> None:
        if not bool(np.all(holds)):
            raise UsageError(f"{path}: {what}; {REMEDY}")

    if any(clips.column(name).null_count for name in CLIP_SCHEMA.names if name != "problem"):
        raise UsageError(f"{path}: it has empty places; {REMEDY}")
    column = {name: clips.column(name).to_numpy() for name in CLIP_SCHEMA.names if name not in ("id", "problem")}
    row, start, end = column["row"], column["start"], column["end"]
    require((row >= 0) & (row < len(ids)) & (np.diff(row, prepend=0) >= 0), "its rows are not those of recordings")
    require(np.isin(np.arange(len(ids)), row), "a recording has no clip")
    require(pc.equal(clips.column("id"), ids.take(pa.array(row))).to_numpy(), "its ids are not those of its rows")
    require(np.isfinite(start) & np.isfinite(end) & (start <= end), "a clip's span is none")
    require((column["shard"] >= 0) & (column["shard"] < shards), "a clip lies in a shard that is not there")
    size, offset, text = column["bytes"], column["offset"], column["json_bytes"]
    require((offset >= 0) & (offset % BLOCK == 0) & (size < _MOST_BYTES), "a clip's place is none in a tar")
    require((text > 0) & (text <= _MOST_JSON) & (text <= size), "a clip's description is too long")


def wrong_description(
    about: Any, wanted: Mapping[str, Any], size: int, json_bytes: int, settings: Mapping[str, Any]
) -> str | None:
    """Return why a clip's KEY.json cannot be true, None where it can.

    Args:
        wanted: id, clip, start and end in the offset table.
        size, json_bytes: of all the clip's members, and of KEY.json, as in the offset table.
        settings: as in the card.
    """
    if not isinstance(about, dict):
        return "the description of a clip is no JSON object"
    for name, value in wanted.items():
        if about.get(name) != value:
            return f"a clip of {about.get('id')!r} from {about.get('start')} s lies where {wanted['id']!r} should"
    room = padded(json_bytes) + BLOCK
    if "samples" in about:
        if not _counts([about.get(name) for name in ("samples", "flac_block")], 1):
            return "the description of a sound is damaged"
        blocks: Any = about.get("flac_frames")
        good = _counts([about.get("flac_header")]) and _counts(blocks, 1) and type(about.get("first_sample")) is int
        if not good or len(blocks) != -(-about["samples"] // about["flac_block"]):
            return "the description of a sound is damaged"
        if about.get("sample_rate") != settings["sample_rate"]:
            return "a sound has another rate than the copy"
        room += BLOCK + padded(about["flac_header"] + sum(blocks))
    if "frame_bytes" in about:
        frames: Any = about["frame_bytes"]
        sides: Any = [about.get("width"), about.get("height")]
        numbers = (about.get("picture_start"), about.get("fps"))
        if not (_counts(frames, 1) and frames and _counts(sides, 1) and all(map(_is_number, numbers))):
            return "the description of pictures is damaged"
        if about["fps"] != settings["fps"] or math.prod(sides) > _MOST_PIXELS or min(sides) != settings["size"]:
            return "pictures have another rate or size than the copy"
        room += sum(BLOCK + padded(length) for length in frames)
    return None if room == size else "the members of a clip do not fill its place"


def _counts(values: Any, least: int = 0) -> bool:
    return isinstance(values, Sequence) and all(type(value) is int and least <= value < _MOST_BYTES for value in values)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
