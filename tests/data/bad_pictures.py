"""A folder of odd and of deliberately bad pictures, made with Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 80, 60
ORIENTATION = 0x0112


def picture(index: int = 0) -> Image.Image:
    """Return a picture whose corners differ: red grows to the right, green downwards; blue is its number."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray(np.stack([x * 3, y * 4, np.full_like(x, 20 * index)], -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """Return the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(orientation: int) -> bytes:
    """Return a JPEG that asks to be turned."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(picture(), "JPEG", quality=95, exif=exif)


def promised(width: int, height: int) -> bytes:
    """Return a small PNG whose header promises many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def make_bad_pictures(folder: Path) -> dict[str, str]:
    """Fill a folder, and return for every file its reason ("!word"), its flag ("word"), "" for none, "-" if ignored."""
    several = {"save_all": True, "append_images": [picture(3), picture(5)]}
    jpeg, png, webp = (encoded(picture(k), kind) for k, kind in enumerate(("JPEG", "PNG", "WEBP")))
    spoilt = bytearray(png)
    spoilt[len(png) // 2 : len(png) // 2 + 20] = bytes(20)
    grey = (np.mgrid[:HEIGHT, :WIDTH][1] * 800).astype(np.uint16)
    clear = Image.new("RGBA", (WIDTH, HEIGHT), (255, 0, 0, 0))
    files = {
        # Good.
        "a.jpg": (jpeg, ""), "b.png": (png, ""), "deep/c.webp": (webp, ""),
        "d.bmp": (encoded(picture(4), "BMP"), ""), "palette.png": (encoded(picture(5).convert("P"), "PNG"), ""),
        "cmyk.jpg": (encoded(picture(6).convert("CMYK"), "JPEG"), ""),
        "wide.png": (encoded(Image.fromarray(grey), "PNG"), ""),
        "grey.png": (encoded(picture().convert("L"), "PNG"), ""),
        "two.png": (encoded(picture().convert("1"), "PNG"), ""),
        "clear.png": (encoded(clear, "PNG"), ""),
        # Odd but good.
        "turned.jpg": (turned(6), "rotated"), "upside-down.jpg": (turned(3), "rotated"),
        "moving.gif": (encoded(picture(), "GIF", **several), "animated"),
        "moving.webp": (encoded(picture(1), "WEBP", **several), "animated"),
        "dot.png": (encoded(Image.new("L", (1, 1), 200), "PNG"), "tiny"),
        "really-png.jpg": (encoded(picture(7), "PNG"), "wrong-extension"),
        "picture.dat": (encoded(picture(8), "JPEG"), "wrong-extension"),
        # Bad.
        "empty.png": (b"", "!empty"), "text.jpg": (b"this is no picture\n" * 99, "!not-media"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "!truncated"), "half.png": (png[: len(png) // 2], "!truncated"),
        "half.webp": (webp[: len(webp) // 2], "!truncated"), "spoilt.png": (bytes(spoilt), "!undecodable"),
        "large.png": (promised(9000, 9000), "!too-large"), "bomb.png": (promised(60000, 60000), "!too-large"),
        "thread.png": (encoded(Image.new("L", (2000, 3)), "PNG"), "!too-narrow"),
        # No picture.
        "BMs.txt": (b"BM, two letters of a text that is no bitmap", "-"), ".hidden.png": (png, "-"),
    }  # fmt: skip
    for name, (data, _) in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return {name: word for name, (_, word) in files.items()}
