"""HEIC stills: a HEIF file's picture put together from its tiles, and how its properties say that it lies.

Telephones store a photograph as a grid of HEVC pictures, which FFmpeg gives as streams beside each other; what joins
them is in the file's `meta` box (ISO/IEC 23008-12: `pitm`, `iref`, `iprp`, and the grid's own data through `iloc`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from coview.errors import MediaError
from coview.media.container import MAX_PIXELS
from coview.media.told import LENIENT

_BRANDS = (b"heic", b"heix", b"heim", b"heis")
_MAX_META = 1 << 22
_MAX_TILES = 1024


def is_heif(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a picture that this file reads; "mif1" also begins AVIF files."""
    length = _number(head, 0, 4)
    return head[4:8] == b"ftyp" and (
        head[8:12] in _BRANDS or (head[8:12] == b"mif1" and any(brand in head[16:length] for brand in _BRANDS))
    )


@dataclass
class _Meta:
    """What the `meta` box says: the main item, its tiles, and the properties of each item in their order."""

    main: int = 0
    tiles: dict[int, list[int]] = field(default_factory=dict)
    properties: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    grids: dict[int, bytes] = field(default_factory=dict)


def read_heif(path: Path) -> tuple[NDArray[np.uint8], bool, int]:
    """Decode the main picture: uint8 (H, W, 3), RGB, as it is stored; whether it is mirrored, and its quarter turns.

    It is shown upright when it is mirrored left to right first, and then turned counter-clockwise.

    Raises:
        MediaError: "undecodable", "too-large" or "truncated".
    """
    meta = _read_meta(path)
    if meta.main in meta.tiles:
        picture = _grid(path, meta)
    else:
        pictures = list(_decode(path, [meta.main]).values())
        if not pictures:
            raise MediaError(str(path), "undecodable", "FFmpeg finds no picture in the file")
        picture = pictures[0]
    mirrored, turns = False, 0
    for name, value in meta.properties.get(meta.main, []):  # they are applied in their order
        if name == b"irot" and value:
            turns = (turns + (value[0] & 3)) % 4
        if name == b"imir" and value:  # 0 exchanges top and bottom, which is left and right and half a turn
            mirrored, turns = not mirrored, (-turns + (0 if value[0] & 1 else 2)) % 4
    return picture, mirrored, turns


def _grid(path: Path, meta: _Meta) -> NDArray[np.uint8]:
    data, items = meta.grids.get(meta.main, b""), meta.tiles[meta.main]
    wide = 4 if len(data) > 1 and data[1] & 1 else 2
    if len(data) < 4 + 2 * wide:
        raise MediaError(str(path), "undecodable", "the grid of tiles is not described")
    rows, columns = data[2] + 1, data[3] + 1
    width, height = (int.from_bytes(data[4 + k * wide : 4 + (k + 1) * wide], "big") for k in range(2))
    if width * height > MAX_PIXELS or rows * columns > _MAX_TILES:
        raise MediaError(str(path), "too-large", f"{width} x {height} pixels in {rows * columns} tiles")
    tiles = _decode(path, items)
    missing = [item for item in items[: rows * columns] if item not in tiles]
    if missing or len(items) < rows * columns:
        raise MediaError(str(path), "undecodable", f"{len(missing)} of {rows * columns} tiles cannot be decoded")
    high, across = tiles[items[0]].shape[:2]
    if rows * high < height or columns * across < width or any(tiles[i].shape[:2] != (high, across) for i in items):
        raise MediaError(str(path), "undecodable", "the tiles do not cover the picture")
    whole = np.zeros((height, width, 3), np.uint8)
    for number, item in enumerate(items[: rows * columns]):
        top, left = number // columns * high, number % columns * across
        piece = tiles[item][: max(0, height - top), : max(0, width - left)]
        whole[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
    return whole


def _decode(path: Path, items: list[int]) -> dict[int, NDArray[np.uint8]]:
    """Return item -> its picture; FFmpeg numbers its streams as the items."""
    found: dict[int, NDArray[np.uint8]] = {}
    options = {"format_whitelist": "mov", "protocol_whitelist": "file"}
    with av.open(f"file:{path}", options=options, **LENIENT) as container:
        streams = {stream.index: stream for stream in container.streams.video if stream.id in items}
        if not streams and len(items) == 1 and container.streams.video:
            streams = {container.streams.video[0].index: container.streams.video[0]}
        for stream in streams.values():
            if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
                raise MediaError(str(path), "too-large", f"at most {MAX_PIXELS} pixels are read")
            stream.codec_context.thread_count = 1
        for packet in container.demux(*streams.values()):
            stream = streams[packet.stream_index]
            frames: list[Any] = packet.decode()
            for frame in frames:
                item = stream.id if stream.id in items else items[0]
                if not frame.is_corrupt:
                    found[item] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    return found


def _read_meta(path: Path) -> _Meta:
    with path.open("rb") as stream:
        head = stream.read(_MAX_META)
    meta = next((body for name, body in _boxes(head) if name == b"meta"), None)
    if meta is None:
        raise MediaError(str(path), "truncated", "the file holds no description of its picture")
    boxes, found = dict(_boxes(meta[4:])), _Meta()
    short = boxes.get(b"pitm", b"")
    found.main = int.from_bytes(short[4:6] if short[:1] == b"\0" else short[4:8], "big")
    references = boxes.get(b"iref", b"")
    size = 2 if references[:1] == b"\0" else 4
    for name, body in _boxes(references[4:]):
        if name == b"dimg":
            item, count = _number(body, 0, size), _number(body, size, 2)
            found.tiles[item] = [_number(body, size + 2 + k * size, size) for k in range(min(count, _MAX_TILES))]
    inside = dict(_boxes(boxes.get(b"iprp", b"")))
    _associate(found, list(_boxes(inside.get(b"ipco", b""))), inside.get(b"ipma", b""))
    if found.main in found.tiles:
        _locate(found, boxes.get(b"iloc", b""), boxes.get(b"idat", b""), head)
    return found


def _associate(found: _Meta, properties: list[tuple[bytes, bytes]], table: bytes) -> None:
    size, wide, at = (2 if table[:1] == b"\0" else 4), bool(table[3:4] and table[3] & 1), 8
    for _ in range(min(_number(table, 4, 4), _MAX_TILES)):
        item, count = _number(table, at, size), _number(table, at + size, 1)
        at += size + 1
        numbers = [_number(table, at + k * (1 + wide), 1 + wide) & (0x7FFF if wide else 0x7F) for k in range(count)]
        at += count * (1 + wide)
        found.properties[item] = [properties[number - 1] for number in numbers if 0 < number <= len(properties)]


def _locate(found: _Meta, table: bytes, idat: bytes, head: bytes) -> None:
    """Find the grids' own data: each has one extent, in the file or in `idat`."""
    version = _number(table, 0, 1)
    offset, length, base, index = (n for byte in table[4:6].ljust(2, b"\0") for n in (byte >> 4, byte & 15))
    size, at = (2 if version < 2 else 4), 6
    count = _number(table, at, size)
    at += size
    for _ in range(min(count, _MAX_TILES)):
        item, at = _number(table, at, size), at + size
        method = _number(table, at, 2) & 15 if version else 0
        at += (2 if version else 0) + 2
        origin, at = _number(table, at, base), at + base
        extents, at = _number(table, at, 2), at + 2
        for k in range(min(extents, _MAX_TILES)):
            at += index if version else 0
            start, taken, at = _number(table, at, offset), _number(table, at + offset, length), at + offset + length
            if k == 0 and item in found.tiles:
                source = idat if method == 1 else head
                found.grids[item] = source[origin + start : origin + start + taken]


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, head = _number(data, at, 4), 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        size = size or len(data) - at
        if size < head:
            return
        yield data[at + 4 : at + 8], data[at + head : at + size]
        at += size


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")
