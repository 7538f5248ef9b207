"""Where the second of two patches of a picture lies, and what keeps a network from reading it off the lens.

Doersch, Gupta & Efros, Unsupervised visual representation learning by context prediction, ICCV 2015 (arXiv
1505.05192). Eight places around a patch, counted in raster order from the upper left.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

OFFSETS = tuple((dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dx, dy) != (0, 0))  # by label
_EARLIER = ((-1, -1), (0, -1), (1, -1), (-1, 0))  # neighbours that come before a patch in raster order


def place(dx: int, dy: int) -> int:
    """Return the label 0..7 of the second patch's offset, in patches; raises ValueError where it is no neighbour."""
    return OFFSETS.index((dx, dy))


def grid_pairs(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return all ordered neighbours of a grid of patches: int64 (n, 2) raster positions and their labels (n,).

    Each patch stands beside those before it (upper left, up, upper right, left), in both directions.
    """
    found = [pair for y in range(rows) for x in range(columns) for pair in _around(x, y, columns)]
    pairs = torch.tensor([pair for pair, _ in found], dtype=torch.int64).reshape(-1, 2)
    return pairs, torch.tensor([label for _, label in found], dtype=torch.int64)


def _around(x: int, y: int, columns: int) -> Iterator[tuple[tuple[int, int], int]]:
    own = y * columns + x
    for dx, dy in _EARLIER:
        if 0 <= x + dx < columns and y + dy >= 0:
            other = (y + dy) * columns + x + dx
            yield (own, other), place(dx, dy)
            yield (other, own), place(-dx, -dy)


def chroma_projection(dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the (3, 3) matrix that takes the green-magenta axis out of RGB: I - a^T a / (a a^T), a = (-1, 2, -1).

    Chromatic aberration lies along that axis. Greys stay as they are.
    """
    axis = torch.tensor([-1.0, 2.0, -1.0], dtype=dtype)
    return torch.eye(3, dtype=dtype) - torch.outer(axis, axis) / axis.dot(axis)
