"""How a film's frames are shown: pixels made square, turned and mirrored as its display matrix says.

The matrix (ISO/IEC 14496-12, 6.2.2) sends the stored point (p, q), y downwards, to (a p + c q + x, b p + d q + y).
Of all it can say, the eight ways to lay a picture on its sides are followed.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

from coview.media.container import Media, check_size, pixel_aspect

_ONE = 1 << 16  # 1.0 in the matrix


@dataclass(frozen=True)
class Upright:
    """What makes a stored picture upright: mirrored left to right first, then quarter turns counter-clockwise."""

    mirrored: bool = False
    turns: int = 0

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture (H, W, ...) upright."""
        shown = np.rot90(picture[:, ::-1] if self.mirrored else picture, self.turns)
        return np.ascontiguousarray(shown)

    @classmethod
    def of(cls, frame: Any) -> Upright:
        """Return how a decoded frame is shown; as it is stored where its matrix is damaged."""
        side = frame.side_data.get(Type.DISPLAYMATRIX)
        if side is None or side.buffer_size < 36:
            return cls()
        a, b, _, c, d = struct.unpack_from("=5i", bytes(side))
        mirrored = a * d < b * c
        right = (-a, -b) if mirrored else (a, b)  # where the stored rows run once the mirror is undone
        if math.hypot(*right) < _ONE / 1000:
            return cls()
        return cls(mirrored, round(-math.degrees(math.atan2(right[1], right[0])) / 90) % 4)


def displayed_size(media: Media, frame: Any) -> tuple[int, int]:
    """Return the width and height in pixels at which a frame is shown: square pixels, rotation applied.

    Raises:
        MediaError: "too-large" or "too-narrow"; a damaged film's frames can have another size than its header says.
    """
    check_size(media, frame.width, frame.height)
    width = max(1, round(frame.width * pixel_aspect(media)))
    return (frame.height, width) if Upright.of(frame).turns % 2 else (width, frame.height)
