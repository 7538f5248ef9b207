"""A digest of what is seen and heard, taken while a file is probed: the same for a copy in another container.

Pictures: the brightness of 32 x 32 fields of the first frame, of one key frame near second 20 and of the last, and how
many frames there are. Sound: how loud each hundredth of the second is that begins with the loudest sample. Bytes behind
the end, tags, another container or a lossless packing of the sound change nothing of this.

What it cannot see: a copy that was encoded again, scaled, cropped, cut in time or given another sound has another
digest; so has one whose loss of a packet changed a frame it looks at. It tells equal contents, not alike ones.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FIELDS = 32
_PARTS = 100  # of the second of sound
_STEP_DB = 0.25
_FLOOR_DB = -72.0
# A later sample counts as louder from here on: processors differ in the last bits.
_LOUDER = 1.001

# Planar formats whose first plane is the brightness, a byte a pixel.
_BRIGHT = ("yuv", "yuvj", "yuva", "gray", "nv12", "nv21")


class Look(NamedTuple):
    """What is kept of a frame: its fields, and a checksum of all its brightness."""

    fields: bytes
    checksum: int


def look_at(frame: Any) -> Look:
    """Look at a decoded frame as it is stored, without rotation."""
    name, plane = frame.format.name, frame.planes[0]
    if name.startswith(_BRIGHT) and frame.format.components[0].bits == 8:
        bright = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    else:
        bright = np.asarray(frame.to_ndarray(format="gray"), np.uint8)
    return look_at_brightness(bright)


def look_at_brightness(bright: NDArray[np.uint8]) -> Look:
    """Look at a picture's brightness (H, W), in whole numbers, so that every processor finds the same."""
    rows, columns = (np.linspace(0, side, FIELDS + 1).astype(int)[:-1] for side in bright.shape)
    # Small pictures have fields that begin at the same pixel; each then holds that pixel.
    sums = np.add.reduceat(np.add.reduceat(bright, rows, 0, dtype=np.uint32), columns, 1, dtype=np.uint64)
    sizes = np.maximum(np.diff([*rows, bright.shape[0]]), 1)[:, None]
    sizes = sizes.astype(np.uint64) * np.maximum(np.diff([*columns, bright.shape[1]]), 1)[None].astype(np.uint64)
    return Look((sums // sizes).astype(np.uint8).tobytes(), zlib.crc32(bright.tobytes()))


@dataclass
class LoudestSecond:
    """The second of a mono sound that begins with its loudest sample, found as the sound goes by.

    Attributes:
        peak: largest absolute sample.
        rate: samples of the second.
    """

    peak: float = 0.0
    rate: int = 0
    _begun: float = 0.0  # the level of the sample it begins with
    _kept: list[NDArray[np.float32]] = field(default_factory=list)
    _missing: int = 0

    def hear(self, samples: NDArray[np.float32], rate: int) -> None:
        """Take in the samples that follow, float32 (N,), N >= 1."""
        at = int(np.abs(samples).argmax())
        loudest = float(abs(samples[at]))
        if self._missing:
            self._kept.append(samples[: self._missing].copy())
            self._missing -= len(self._kept[-1])
        if loudest > self._begun * _LOUDER:
            self._kept, self.rate, self._begun = [samples[at : at + rate].copy()], rate, loudest
            self._missing = rate - len(self._kept[0])
        self.peak = max(self.peak, loudest)

    def loudness(self) -> bytes:
        """Return the level of each hundredth in steps of a quarter decibel; nothing where there was no sound."""
        if not self._kept or not self.rate:
            return b""
        heard = np.concatenate(self._kept).astype(np.float64)
        second = np.zeros(self.rate)
        second[: len(heard)] = heard[: self.rate]
        power = np.array([float(np.mean(part**2)) if len(part) else 0.0 for part in np.array_split(second, _PARTS)])
        level = 10 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))
        steps: NDArray[np.uint16] = np.round((level - _FLOOR_DB) / _STEP_DB).astype("<u2")
        return steps.tobytes()


def digest_of(looks: list[Look], frames: int, loudness: bytes) -> str:
    """Return 32 hexadecimal digits of what was seen and heard."""
    digest = hashlib.sha256(f"{len(looks)} {frames} {len(loudness)};".encode())
    for look in looks:
        digest.update(look.fields)
    digest.update(loudness)
    return digest.hexdigest()[:32]
