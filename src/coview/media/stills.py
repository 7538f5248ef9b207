"""Still pictures by Pillow, and HEIC by FFmpeg: files of one picture, read as the frames of films are.

A still has no length: on its recording's clock it lies at second 0 and lasts 0 s. What is transparent is shown on
mid-grey; 16 bits of grey become 8; a picture is turned as its EXIF data say; of an animation the first picture counts.
"""

from __future__ import annotations

import contextlib
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from coview.errors import MediaError
from coview.media.container import MAX_PIXELS, NARROW, boundary
from coview.media.content import Look, look_at_brightness
from coview.media.cuts import Crop, VideoCut
from coview.media.heif import is_heif, read_heif
from coview.media.jpeg import decode_scaled
from coview.media.pictures import seen
from coview.media.regular import check_file, head_of
from coview.media.told import told

T = TypeVar("T")
Form = Callable[[Path, Image.Image], T]  # what is made of a file that Pillow has opened
Least = Callable[[int, int], float]  # width and height as shown -> the short side, in pixels, that is enough
_GROUND = (128, 128, 128, 255)  # black and white drawings both stay visible on it
# Crops are decoded so much finer than they become: of their sharpness no more than about 1 % is lost so.
_FINER = 2.5
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "AVIF")  # the only readers of Pillow that see a file
_BRANDS = (b"avif", b"avis")  # of files that look like MP4
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes, the format's versions
_EXIF_DESCRIPTION, _EXIF_ORIENTATION = 0x010E, 0x0112
_TURNS = {  # what shows a picture of an orientation upright, and the degrees counter-clockwise in it
    2: (Image.Transpose.FLIP_LEFT_RIGHT, 0),
    3: (Image.Transpose.ROTATE_180, 180),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, 180),
    5: (Image.Transpose.TRANSPOSE, 90),
    6: (Image.Transpose.ROTATE_270, 270),
    7: (Image.Transpose.TRANSVERSE, 270),
    8: (Image.Transpose.ROTATE_90, 90),
}
# What Pillow's readers raise on damaged files.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


# Orientation -> mirrored left to right, and then the degrees counter-clockwise that show it upright.
_LIES = {1: (False, 0)} | {number: (number in (2, 4, 5, 7), turn) for number, (_, turn) in _TURNS.items()}


@dataclass(frozen=True)
class Still:
    """What a file of one picture is: width and height as shown, its format in lower case, its EXIF orientation."""

    width: int
    height: int
    codec: str
    orientation: int
    animated: bool
    told: str = ""  # its title and description

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise that reading applies."""
        return _LIES[self.orientation][1]

    @property
    def mirrored(self) -> bool:
        """Whether it is mirrored left to right before that."""
        return _LIES[self.orientation][0]


def is_still(head: bytes) -> bool:
    """Tell whether a file's first bytes are those of a picture that this file reads."""
    if head[:2] == b"BM":  # two letters prove little
        return len(head) >= 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        also = head[16 : int.from_bytes(head[:4], "big")] if head[8:12] == b"mif1" else b""
        return head[8:12] in _BRANDS or any(brand in also for brand in _BRANDS) or is_heif(head)
    return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"))


def look_at_still(path: Path | str) -> tuple[Still, Look]:
    """Decode a picture whole; return what it is, and a look at it as it is stored.

    Raises:
        MediaError: "missing", "unreadable", "empty", "truncated", "undecodable", "too-large" or "too-narrow".
    """
    path = Path(path)
    picture, about = _load(path, _whole, _to_rgb)
    if about.codec == "png":
        _check_sums(path)
    return about, look_at_brightness(np.asarray(picture.convert("L")))


def read_whole_still(path: Path | str, size: int) -> NDArray[np.uint8]:
    """Read a picture, uncropped: uint8 (H, W, 3), RGB, short side `size`, upright; errors as of `look_at_still`."""
    # Twice the size leaves scaling its work.
    picture, about = _load(Path(path), lambda width, height: 2 * size, _to_rgb)
    scale = size / min(about.width, about.height)
    width, height = max(size, round(about.width * scale)), max(size, round(about.height * scale))
    turned = about.orientation in (5, 6, 7, 8)
    # Its window grows as it shrinks: an average, as films are scaled.
    picture = picture.resize((height, width) if turned else (width, height), Image.Resampling.BILINEAR)
    return np.asarray(_upright(picture, about))


def read_full_still(path: Path | str) -> NDArray[np.uint8]:
    """Read a picture as large as it is: uint8 (H, W, 3), RGB, upright; errors as of `look_at_still`."""
    return np.array(_upright(*_load(Path(path), _whole, _to_rgb)))


def read_stills(path: Path | str, cuts: Sequence[VideoCut]) -> list[Tensor]:
    """Read the frames of cuts, all of a cut the same picture: uint8 (3, count, size, size); errors of `look_at_still`.

    All crops are made of one decoding of the picture, as coarse as the finest of them allows.
    """
    crops = [(cut.window, cut.size) for cut in cuts if isinstance(cut.window, Crop)]

    def least(width: int, height: int) -> float:
        return math.ceil(_FINER * max(crop.short(width, height, size) for crop, size in crops))

    fine = _fine(*_load(Path(path), least, _to_array)) if crops else None
    found = []
    for cut in cuts:
        picture = fine if isinstance(cut.window, Crop) else read_whole_still(path, cut.size)
        assert picture is not None
        part = torch.from_numpy(np.array(seen(picture, cut.size, cut.window)))  # Pillow's own cannot be written
        found.append(part[None].expand(cut.count, -1, -1, -1).permute(3, 0, 1, 2))
    return found


def _fine(pixels: NDArray[np.uint8], about: Still) -> NDArray[np.uint8]:
    return np.array(_upright(Image.fromarray(pixels), about)) if about.orientation in _TURNS else pixels


def _upright(picture: Image.Image, about: Still) -> Image.Image:
    return picture.transpose(_TURNS[about.orientation][0]) if about.orientation in _TURNS else picture


def _whole(width: int, height: int) -> float:
    return min(width, height)


def _load(path: Path, least: Least, form: Form[T]) -> tuple[T, Still]:
    """Return a picture as it lies in the file, in a form, perhaps smaller, but no smaller than `least` says."""
    check_file(path)
    with boundary(path):
        try:
            return _decode(path, least, form)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise MediaError(str(path), "too-large", f"at most {MAX_PIXELS} pixels are read ({error})") from error
        except PermissionError:
            raise
        except _DAMAGED as error:
            reason = "truncated" if _ends_early(path, error) else "undecodable"
            raise MediaError(str(path), reason, f"the picture cannot be decoded ({error})") from error


def _decode(path: Path, least: Least, form: Form[T]) -> tuple[T, Still]:
    if is_heif(head_of(path)):
        stored, mirrored, turns = read_heif(path)
        _check_size(path, stored.shape[1], stored.shape[0])
        orientation = next(number for number, lies in _LIES.items() if lies == (mirrored, 90 * turns))
        height, width = stored.shape[:2] if orientation < 5 else stored.shape[1::-1]
        return form(path, Image.fromarray(stored)), Still(width, height, "heic", orientation, animated=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # of damaged EXIF data, without which a picture is one
        with Image.open(path, formats=_FORMATS) as image:
            orientation, codec, animated = _check(path, image)
            width, height = image.size if orientation < 5 else image.size[::-1]
            times = least(width, height) / min(image.size)
            if times < 1:  # a JPEG can be decoded at an eighth to a half
                image.draft(None, (round(image.width * times), round(image.height * times)))
            picture = form(path, image)
            spoken = told(image.info | {"imagedescription": _described(image)})
    return picture, Still(width, height, codec, orientation, animated, spoken)


def _check_sums(path: Path) -> None:
    """Compare a PNG's checksums, which decoding does not: what they contradict is decoded to something."""
    with boundary(path):
        try:
            with Image.open(path, formats=_FORMATS) as image:
                image.verify()
        except _DAMAGED as error:
            raise MediaError(str(path), "undecodable", f"the picture is damaged ({error})") from error


def _check(path: Path, image: Image.Image) -> tuple[int, str, bool]:
    """Return a picture's EXIF orientation, its codec and whether it moves."""
    _check_size(path, *image.size)
    codec = "jpeg" if image.format == "MPO" else str(image.format).lower()  # a telephone's JPEG with a second picture
    return _orientation(image), codec, codec != "jpeg" and bool(getattr(image, "is_animated", False))


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MediaError(str(path), "too-large", f"{width} x {height} pixels; at most {MAX_PIXELS} are read")
    if max(width, height) > NARROW * min(width, height):
        limit = f"at most {NARROW} times as long as wide is read"
        raise MediaError(str(path), "too-narrow", f"{width} x {height} pixels; {limit}")


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DAMAGED:
        return 1
    return orientation if orientation in _TURNS else 1


def _described(image: Image.Image) -> object:
    try:
        described: Any = image.getexif().get(_EXIF_DESCRIPTION)
    except _DAMAGED:
        return None
    with contextlib.suppress(AttributeError, UnicodeError):
        return described.encode("latin-1").decode()  # Pillow takes all for Latin-1, but what writes it for UTF-8
    return described


def _to_array(path: Path, image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an opened picture; of a plain JPEG without the copies that Pillow makes."""
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        try:
            return decode_scaled(path.read_bytes(), *image.size)
        except ValueError:  # Pillow reads it, or knows what is wrong
            pass
    return np.array(_to_rgb(path, image))


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", image.size, _GROUND), image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _ends_early(path: Path, error: Exception) -> bool:
    if "truncated" in str(error).lower():
        return True
    head = head_of(path)
    return head[:4] == b"RIFF" and path.stat().st_size < 8 + int.from_bytes(head[4:8], "little")
