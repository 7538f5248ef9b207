"""A tiled HEIC as telephones write it, built box by box around HEVC pictures that PyAV encodes."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def box(name, *parts):
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def full(name, *parts, version=0, flags=0):
    return box(name, struct.pack(">I", version << 24 | flags), *parts)


def encoded(picture, folder):
    """Return the HEVC sample of a picture (H, W, 3) and its hvcC box, as an MP4 holds them."""
    path = Path(folder) / "tile.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx265", rate=25, options={"x265-params": "log-level=none:keyint=1:crf=4"})
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    at = data.index(b"hvcC") - 4
    with av.open(str(path)) as container:
        sample = bytes(next(container.demux(video=0)))
    return sample, data[at : at + struct.unpack_from(">I", data, at)[0]]


def write_heic(path, picture, tile, *, turn=0, mirror=None):
    """Write `picture` (H, W, 3) as a grid of square tiles, the last padded; turned and mirrored as properties say."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.pad(picture, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge")
    pieces = [
        encoded(padded[r * tile : (r + 1) * tile, c * tile : (c + 1) * tile], path.parent)
        for r in range(rows) for c in range(columns)
    ]  # fmt: skip
    count, main = len(pieces), len(pieces) + 1
    ftyp = box(b"ftyp", b"heic", struct.pack(">I", 0), b"mif1heic")
    kinds = [(k, b"hvc1") for k in range(1, main)] + [(main, b"grid")]
    infos = [full(b"infe", struct.pack(">HH4s", k, 0, kind), b"\0", version=2) for k, kind in kinds]
    turned = [box(b"irot", bytes([turn])), *([] if mirror is None else [box(b"imir", bytes([mirror]))])]
    sizes = [full(b"ispe", struct.pack(">II", tile, tile)), full(b"ispe", struct.pack(">II", width, height))]
    properties = [pieces[0][1], *sizes, *turned]
    of_main = [3, *range(4, 4 + len(turned))]
    links = b"".join(struct.pack(">HBBB", k, 2, 0x81, 2) for k in range(1, main))
    links += struct.pack(">HB", main, len(of_main)) + bytes(of_main)
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)

    def meta(begin):
        places, at = b"", begin
        for number, (sample, _) in enumerate(pieces, 1):
            places += struct.pack(">HHHHII", number, 0, 0, 1, at, len(sample))
            at += len(sample)
        places += struct.pack(">HHHHII", main, 1, 0, 1, 0, len(grid))
        return full(
            b"meta",
            full(b"hdlr", struct.pack(">I4s12s", 0, b"pict", b""), b"\0"),
            full(b"pitm", struct.pack(">H", main)),
            full(b"iinf", struct.pack(">H", len(infos)), *infos),
            full(b"iref", box(b"dimg", struct.pack(f">HH{count}H", main, count, *range(1, main)))),
            box(b"iprp", box(b"ipco", *properties), full(b"ipma", struct.pack(">I", main), links)),
            box(b"idat", grid),
            full(b"iloc", struct.pack(">BBH", 0x44, 0, main), places, version=1),
        )

    begin = len(ftyp) + len(meta(0)) + 8
    path.write_bytes(ftyp + meta(begin) + box(b"mdat", *(sample for sample, _ in pieces)))
    return path
