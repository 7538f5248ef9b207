"""Surface normals from a map of depth: a plane through the neighbours of every pixel."""

from __future__ import annotations

from collections.abc import Sequence

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
    rays = rays_of((high, wide), focal).to(z)
    scale = torch.where(z > 0, z, 1.0)  # points in units of the pixel's own depth, for the sake of rounding
    room = (_REACH,) * 4
    depths, directions = pad(z, room), pad(rays, room)
    rest = z.shape[:-2]
    moments, sums = z.new_zeros(*rest, 3, 3, high, wide), z.new_zeros(*rest, 3, high, wide)
    count = torch.zeros_like(z)
    for down in range(2 * _REACH + 1):
        for right in range(2 * _REACH + 1):
            part = ..., slice(down, down + high), slice(right, right + wide)
            near = depths[part] / scale
            same = ((near - 1).abs() < _APART) & (z > 0)
            point = directions[part] * torch.where(same, near, 0.0)[..., None, :, :]
            moments += point[..., :, None, :, :] * point[..., None, :, :, :]
            sums += point
            count += same
    matrix, right_side = moments.movedim((-4, -3), (-2, -1)), sums.movedim(-3, -1)
    solved: Tensor
    solved, failed = torch.linalg.solve_ex(matrix, right_side)
    length: Tensor = torch.linalg.vector_norm(solved, dim=-1)
    known = (count >= _LEAST) & (failed == 0) & length.isfinite() & (length > 0)
    unit = -solved / length.clamp(min=1e-12)[..., None]  # n.X = 1 points away from the camera
    return torch.where(known[..., None], unit, 0.0).float(), known
