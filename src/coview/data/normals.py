"""Surface normals from a map of depth: a plane through the neighbours of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import pad

_REACH = 3  # pixels on either side whose points the plane goes through
_LEAST = 13  # of the 49 points; with fewer the direction is noise
_APART = 0.05  # share of the depth by which a neighbour may be nearer or further; beyond is another surface


def rays_of(size: Sequence[int], focal: float) -> Tensor:
    """Return float64 (3, H, W): the point at depth 1 that every pixel of a map of H and W pixels sees.

    Axes: right, down, away from the camera.

    Args:
        focal: focal length as a share of the map's width; the optical axis meets the middle.
    """
    high, wide = size
    x = (torch.arange(wide) + 0.5 - wide / 2) / (focal * wide)
    y = (torch.arange(high) + 0.5 - high / 2) / (focal * wide)
    return torch.stack([x.expand(high, wide), y[:, None].expand(high, wide), torch.ones(high, wide)]).double()


def normals_of(depth: Tensor, focal: float) -> tuple[Tensor, Tensor]:
    """Return unit normals float32 (..., H, W, 3), towards the camera, and bool (..., H, W): where they are known.

    Axes: right, down, away from the camera; a wall seen from the front has (0, 0, -1). Of every pixel the plane n.X = 1
    goes through the points X of its neighbours by least squares, which a true plane meets exactly.

    Args:
        depth: (..., H, W) in any unit, along the optical axis, which meets the middle of the map; 0 is unknown.
        focal: focal length as a share of the map's width.
    """
    z = depth.double()
    high, wide = z.shape[-2:]
    scale = torch.where(z > 0, z, 1.0)  # points in units of the pixel's own depth, for the sake of rounding
    depths = pad(z, (_REACH,) * 4)
    # A point is near * (ray + steps to it): in the axes near * (right, down, 1) moments are sums times whole numbers.
    moments, sums, count = z.new_zeros(3, 3, *z.shape), z.new_zeros(3, *z.shape), torch.zeros_like(z)
    for down, right in product(range(-_REACH, _REACH + 1), repeat=2):
        top, left = _REACH + down, _REACH + right
        near = depths[..., top : top + high, left : left + wide] / scale
        near = torch.where((near - 1).abs() < _APART, near, 0.0)
        square, step = near.square(), (right, down, 1)
        for first in range(3):
            sums[first].add_(near, alpha=step[first])
            for second in range(first + 1):
                moments[first, second].add_(square, alpha=step[first] * step[second])
        count += near > 0
    lower = moments.movedim((0, 1), (-2, -1))
    solved: Tensor
    solved, failed = torch.linalg.solve_ex(lower + lower.tril(-1).mT, sums.movedim(0, -1))
    x, y, _ = rays_of((high, wide), focal).to(z)
    by_right, by_down, rest = solved.unbind(-1)
    n_x, n_y = by_right * focal * wide, by_down * focal * wide
    plane = torch.stack([n_x, n_y, rest - n_x * x - n_y * y])
    length = plane.square().sum(0).sqrt()
    known = (z > 0) & (count >= _LEAST) & (failed == 0) & length.isfinite() & (length > 0)
    unit = -plane / length.clamp(min=1e-12)  # n.X = 1 points away from the camera
    return torch.where(known, unit, 0.0).movedim(0, -1).float(), known
