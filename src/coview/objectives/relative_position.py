"""Where the second of two patches of a picture lies, and what keeps a network from reading it off the lens.

Doersch, Gupta & Efros, Unsupervised visual representation learning by context prediction, ICCV 2015 (arXiv
1505.05192). Eight places around a patch, counted in raster order from the upper left. Patches are (N, C, P, P).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from coview.objectives.precision import in_float32
from coview.randomness import integers, normal, uniform

OFFSETS = tuple((dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dx, dy) != (0, 0))  # by label
_EARLIER = ((-1, -1), (0, -1), (1, -1), (-1, 0))  # neighbours that come before a patch in raster order
_LEAST = 10 / 96  # side of the strongest shrinking, as a share of the patch
_FAINT = 0.01  # deviation of the noise in the place of a colour, as a share of the kept one's


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


def grid_corners(key: Tensor, stream: int, grids: int, side: int, pitch: int, jitter: int, last: int) -> Tensor:
    """Return upper left corners (row, column) of patches in square grids: int64 (B, grids, side^2, 2), raster order.

    Args:
        key: int64 (B,), of the pictures.
        pitch: from patch to patch; each grid begins anywhere in the first `pitch` pixels.
        jitter: how far each patch is moved at most, both ways.
        last: where the last whole patch of the picture begins; corners are kept in 0 to `last`.
    """
    start = integers(key, stream, pitch, grids, 1, 2)
    line = torch.arange(side, device=key.device) * pitch
    moved = integers(key, stream + 1, 2 * jitter + 1, grids, side**2, 2) - jitter
    return (start + torch.cartesian_prod(line, line) + moved).clamp(0, last)


def cut_patches(x: Tensor, corners: Tensor, size: int) -> Tensor:
    """Return the patches (B M, C, size, size) of pictures x (B, C, H, W) at corners int64 (B, M, 2)."""
    line = torch.arange(size, device=x.device)
    rows, columns = (corners[..., axis, None] + line for axis in (0, 1))
    sample = torch.arange(len(x), device=x.device)[:, None, None, None]
    return x[sample, :, rows[..., None], columns[:, :, None]].movedim(-1, 2).flatten(0, 1)


def shrinkings(size: int) -> Tensor:
    """Return (n, size, size): maps of a line of pixels to ever more of them and back, the last changes nothing."""
    eye = torch.eye(size)[None, None]
    small = [
        interpolate(eye, size=(side, size), mode="bilinear", antialias=True)
        for side in range(max(2, round(_LEAST * size)), size)
    ]
    back = [interpolate(line, size=(size, size), mode="bilinear") for line in small]
    return torch.cat([*back, eye])[:, 0]


@in_float32
def shrink(patches: Tensor, key: Tensor, stream: int, share: float, maps: Tensor) -> Tensor:
    """Shrink a share of the patches and enlarge them again, to areas drawn uniformly: their grain says nothing.

    Args:
        key: int64 (N,), of the patches.
        maps: of `shrinkings`.
    """
    most = maps.shape[1] - 1
    least = most - len(maps) + 2
    side = (least**2 + (most**2 - least**2) * uniform(key, stream)).sqrt().long()
    line = maps[torch.where(uniform(key, stream + 1) < share, side - least, len(maps) - 1)][:, None]
    return line @ patches @ line.mT


def drop_colours(patches: Tensor, key: Tensor, stream: int, level: Tensor | None = None) -> Tensor:
    """Keep one random colour of each patch, less its mean, and put faint noise in the place of the others.

    Args:
        key: int64 (N,), of the patches.
        level: (C,), a grey level of 255 in each colour. With it the noise is uniform over one level, as in the
            released code; without, normal with a hundredth of the kept colour's deviation, as in the paper.
    """
    channels = patches.shape[1]
    kept = one_hot(integers(key, stream, channels), channels)[..., None, None] > 0
    own = torch.where(kept, patches - patches.mean((2, 3), keepdim=True), 0.0)
    if level is not None:
        noise = (uniform(key, stream + 1, *patches.shape[1:]) - 0.5) * level[:, None, None]
    else:
        deviation = (own.square().sum((1, 2, 3), keepdim=True) / patches.shape[2:].numel()).sqrt()
        noise = normal(key, stream + 1, *patches.shape[1:]) * _FAINT * deviation
    return torch.where(kept, own, noise.to(own))


def to_rms(patches: Tensor, rms: float) -> Tensor:
    """Scale each patch to a root mean square over all its numbers; a patch of zeros stays one."""
    return patches * (rms / patches.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6))


def chroma_projection(dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the (3, 3) matrix that takes the green-magenta axis out of RGB: I - a^T a / (a a^T), a = (-1, 2, -1).

    Chromatic aberration lies along that axis. Greys stay as they are.
    """
    axis = torch.tensor([-1.0, 2.0, -1.0], dtype=dtype)
    return torch.eye(3, dtype=dtype) - torch.outer(axis, axis) / axis.dot(axis)
