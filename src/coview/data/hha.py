"""Depth as HHA: horizontal disparity, height above ground, and the angle between surface and gravity.

Gupta, Girshick, Arbelaez & Malik, "Learning rich features from RGB-D images for object detection and segmentation",
ECCV 2014 (arXiv 1407.5736); the direction of gravity as Gupta, Arbelaez & Malik, CVPR 2013, find it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.linalg import cross, vector_norm
from torch.nn.functional import normalize

from coview.data.normals import normals_of, rays_of

_NEAREST = 0.1  # metres; nothing is nearer than this to a camera
_HOLD = 1e-3  # weight of the direction found last, as a share of the normals
_ROUNDS = (45.0,) * 5 + (15.0,) * 5  # degrees within which a surface counts as level or upright


def hha(depth: Tensor, focal: float, gravity: Tensor | None = None) -> Tensor:
    """Return HHA, float32 (B, 3, H, W), of maps of depth in metres (B, H, W); 0 in all three where it is unknown.

    Disparity is 1 / depth in 1/metres, above 0 wherever the rest is known. Height is in metres above the lowest known
    point of the map. The angle, in radians, is between gravity and the normal that faces the camera: 0 for a ceiling,
    pi / 2 for a wall, pi for a floor. It needs the whole map: in a crop, the optical axis is not in the middle.

    Args:
        depth: along the optical axis; 0 is unknown.
        focal: focal length as a share of the map's width.
        gravity: (B, 3) in the axes right, down, away; None: `gravity_of` the normals.
    """
    normals, known = normals_of(depth, focal)
    down = gravity_of(normals, known) if gravity is None else normalize(gravity.to(normals), dim=1)
    points = depth[..., None] * rays_of(depth.shape[-2:], focal).to(depth).movedim(0, -1)
    height = -torch.einsum("bhwc,bc->bhw", points.float(), down)
    lowest = torch.where(known, height, torch.inf).amin((1, 2), keepdim=True)
    down = down[:, None, None]
    across: Tensor = vector_norm(cross(normals, down.expand_as(normals)), dim=-1)  # an arc cosine is coarse at 0 and pi
    angle = torch.atan2(across, (normals * down).sum(-1))
    maps = torch.stack([1 / depth.clamp(min=_NEAREST), height - lowest, angle], dim=1)
    return torch.where(known[:, None], maps, 0.0).float()


def gravity_of(normals: Tensor, known: Tensor) -> Tensor:
    """Return the unit direction of gravity (B, 3) that most surfaces are level or upright to.

    From straight down in the picture, ten times: the direction that is most parallel to the normals of what is level so
    far, and most orthogonal to those of what is upright.

    Args:
        normals: unit (B, H, W, 3), in the axes right, down, away.
        known: bool (B, H, W).
    """
    every = normals.flatten(1, 2).double()
    there = known.flatten(1)
    down = every.new_tensor([0.0, 1.0, 0.0]).expand(len(every), 3)
    for degrees in _ROUNDS:
        across = torch.einsum("bnc,bc->bn", every, down).abs()
        level = there & (across > math.cos(math.radians(degrees)))
        upright = there & (across < math.sin(math.radians(degrees)))
        sign = upright.double() - level.double()
        spread = torch.einsum("bn,bnc,bnd->bcd", sign, every, every)
        # One wall alone leaves a circle of directions: of these, the last found.
        held = _HOLD * there.sum(1).clamp(min=1)[:, None, None]
        spread = spread - held * down[:, :, None] * down[:, None]
        vectors: Tensor
        _, vectors = torch.linalg.eigh(spread)
        found = vectors[:, :, 0]  # of the least eigenvalue
        down = found * torch.where((found * down).sum(1, keepdim=True) < 0, -1.0, 1.0)
    return down.to(normals)
