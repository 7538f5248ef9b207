"""Where squares lie on a picture: around its holes, or all over it, overlapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from torch import Tensor

Box = tuple[slice, slice]  # rows and columns

_AT_ONCE = 1 << 20  # pixels of squares that are looked at together
_WIDEST = 0.75  # of the picture's shorter side, that a piece of a hole has


def cut_holes(hole: NDArray[np.bool_], size: int) -> list[Box]:
    """Return boxes that hold all of the holes (H, W), from the top down, none of them longer than a square around it.

    Holes that lie closer together than an eighth of `size` (pixels of a square as the network sees it) are one.
    """
    cell = max(1, size // 8)
    height, width = (-(-side // cell) for side in hole.shape)
    coarse = np.zeros((height * cell, width * cell), dtype=bool)
    coarse[: hole.shape[0], : hole.shape[1]] = hole
    groups, _ = label(coarse.reshape(height, cell, width, cell).any((1, 3)), structure=np.ones((3, 3)))
    longest, pieces = max(cell, int(_WIDEST * min(hole.shape))), []
    for rows, columns in find_objects(groups):
        down, across = (
            _parts(part.start * cell, min(part.stop * cell, side), longest)
            for part, side in zip((rows, columns), hole.shape, strict=True)
        )
        pieces += [box for box in product(down, across) if hole[box].any()]
    return pieces


def _parts(first: int, last: int, longest: int) -> list[slice]:
    """Return equal parts of a span, none of them longer than `longest`."""
    count = -(-(last - first) // longest)
    return [slice(a, b) for a, b in pairwise(first + (last - first) * k // count for k in range(count + 1))]


def window_around(piece: Box, shape: tuple[int, ...], size: int) -> Box:
    """Return the square around a piece of a hole, about twice as long, inside a picture (H, W) and no smaller than
    `size` where that fits.
    """
    longest = max(part.stop - part.start for part in piece)
    side = min(max(2 * longest, size), *shape)
    middles = ((part.start + part.stop) // 2 for part in piece)
    top, left = (min(max(at - side // 2, 0), whole - side) for at, whole in zip(middles, shape, strict=True))
    return slice(top, top + side), slice(left, left + side)


def joined(
    picture: NDArray[np.uint8], side: int, make: Callable[[NDArray[np.uint8]], Tensor]
) -> Iterator[tuple[slice, Tensor]]:
    """Yield what is made of a picture (H, W, 3) in overlapping squares, rows after rows: which, and float (3, n, W).

    Where squares overlap, the one whose middle is nearer counts more. No more than `side` rows are held at once.

    Args:
        make: of squares (N, side, side, 3), float (N, 3, side, side).
    """
    height, width = picture.shape[:2]
    ramp = torch.minimum(torch.arange(1, side + 1), torch.arange(side, 0, -1)).float()
    weight = ramp[:, None] * ramp
    tops, lefts = _starts(height, side), _starts(width, side)
    total = torch.zeros(4, side, width)  # of colours, and of weights
    for top, following in pairwise([*tops, height]):
        for some in _split(lefts, max(1, _AT_ONCE // side**2)):
            squares = np.stack([picture[top : top + side, left : left + side] for left in some])
            for left, made in zip(some, make(squares), strict=True):
                total[:3, :, left : left + side] += weight * made
                total[3, :, left : left + side] += weight
        done = following - top
        yield slice(top, following), total[:3, :done] / total[3:, :done]
        total = torch.cat([total[:, done:], torch.zeros(4, done, width)], dim=1)


def _starts(length: int, side: int) -> list[int]:
    """Return where squares begin that cover a length evenly, each overlapping the next by a quarter or more."""
    count = -(-4 * (length - side) // (3 * side)) + 1
    return [k * (length - side) // max(count - 1, 1) for k in range(count)]


def _split(values: list[int], count: int) -> list[list[int]]:
    return [values[first : first + count] for first in range(0, len(values), count)]
