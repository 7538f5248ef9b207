"""`surfaces`: a corner of two planes with spheres before it, lit from above, with the depth and normal of every pixel.

Patterns on the surfaces have nothing to do with their form; shading, outlines and where spheres hide planes do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.data.surfaces import Surface
from coview.data.synthetic.signals import Draw, moving_field, to_bytes
from coview.data.synthetic.world import SPLITS
from coview.errors import UsageError
from coview.randomness import make_key

FOCAL = 0.9265  # of the camera, as a share of the picture's width: NYUv2's, behind the usual cut
_VERSION = 1  # changes whenever the same (seed, split, index) gives another picture
_SPHERES = 3
_CHUNK = 32


class SurfacesWorld:
    """Square pictures, made when the world is; implements `Surfaces`.

    A scene depends on (seed, split, index) alone.

    Args:
        size: side of a picture in pixels, even.

    Attributes:
        pictures: uint8 (N, 3, S, S); `depth`: float32 (N, S, S) in metres; `normals`: float32 (N, 3, S, S), unit.

    Raises:
        UsageError: unknown split; no picture; or too small ones.
    """

    classes: Sequence[str] = ()
    problems: Sequence[tuple[str, str]] = ()

    def __init__(self, split: str = "train", count: int = 500, seed: int = 0, *, size: int = 64) -> None:
        if split not in SPLITS or count < 1 or size < 16 or size % 2:
            raise UsageError(
                f"surfaces: expected a split ({', '.join(SPLITS)}), a picture, and an even number of pixels, 16 at "
                f"least; found {split!r}, {count}, {size}"
            )
        self.split, self.seed, self.side = split, seed, size
        self.name = f"surfaces ({split})"
        self.ids = [f"{split}-{index:06d}" for index in range(count)]
        text = f"surfaces {_VERSION} {split} {count} {seed} {size}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        parts = [self._render(part) for part in torch.split(torch.arange(count), _CHUNK)]
        self.pictures, self.depth, self.normals = (torch.cat(each) for each in zip(*parts, strict=True))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Surface:
        return Surface(self.pictures[row], self.normals[row])

    def mirrorable(self, row: int) -> bool:
        """See `Surfaces.mirrorable`: the light falls from either side."""
        return True

    def _render(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        draw, size = Draw(make_key(self.seed, SPLITS.index(self.split), index)), self.side
        steps = (torch.arange(size) + 0.5 - size / 2) / (FOCAL * size)
        rays = torch.stack([steps.expand(size, size), steps[:, None].expand(size, size), torch.ones(size, size)])
        flat = _planes(draw)
        across = (flat[..., None, None] * rays).sum(2)  # (B, 2, S, S): how much a ray comes towards each plane
        depths = list(
            torch.where(across < -0.05, -draw.uniform(2.5, 3.5, 2)[..., None, None] / across, torch.inf).unbind(1)
        )
        facing = [each[..., None, None].expand(-1, -1, size, size) for each in flat.unbind(1)]
        for _ in range(_SPHERES):
            depth, towards = _sphere(draw, rays)
            depths.append(depth)
            facing.append(towards)
        every, which = torch.stack(depths, 1), torch.stack(facing, 1)
        depth, nearest = every.min(1)
        at = nearest[:, None, None].expand(-1, 1, 3, -1, -1)
        normals = which.gather(1, at)[:, 0]
        lit = normalize(torch.stack([draw.uniform(-0.5, 0.5), draw.uniform(-1.2, -0.7), draw.uniform(-0.8, -0.4)], 1))
        shade = 0.25 + 0.75 * (normals * lit[..., None, None]).sum(1).clamp(min=0)
        still = torch.zeros(len(index), 2, 2)
        pattern = 1 + 0.12 * moving_field(draw, size, draw.uniform(0.8, 1.6), still)[:, :1]
        tints = draw.uniform(0.45, 1.0, len(depths), 3)[..., None, None].expand(-1, -1, -1, size, size)
        albedo = tints.gather(1, at)[:, 0]
        return to_bytes(shade[:, None] * pattern * albedo + draw.normal(0.01, 3, size, size)), depth, normals


def _planes(draw: Draw) -> Tensor:
    """Return unit normals (B, 2, 3) of a floor or ceiling, and of a wall, both facing the camera."""
    rise = draw.uniform(-1.0, -0.4) * draw.sign()
    floor = torch.stack([draw.uniform(-0.3, 0.3), rise, draw.uniform(-0.9, -0.4)], 1)
    wall = torch.stack([draw.uniform(-1.2, 1.2), draw.uniform(-0.2, 0.2), torch.full_like(rise, -1.0)], 1)
    return normalize(torch.stack([floor, wall], 1), dim=2)


def _sphere(draw: Draw, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Return depth (B, S, S), infinite beside the sphere, and its unit normals (B, 3, S, S)."""
    away, radius = draw.uniform(1.3, 2.2), draw.uniform(0.15, 0.4)
    centre = torch.stack([away * draw.uniform(-0.5, 0.5), away * draw.uniform(-0.5, 0.5), away], 1)[..., None, None]
    squared, along = rays.square().sum(0), (rays * centre).sum(1)
    inside = along.square() - squared * (centre.square().sum(1) - radius[:, None, None] ** 2)
    depth = torch.where(inside > 0, (along - inside.clamp(min=0).sqrt()) / squared, torch.inf)
    points = torch.where(inside > 0, depth, 1.0)[:, None] * rays
    return depth, normalize(points - centre, dim=1)
