"""The picture side of `objects-av`: one of six shapes moving along one of four paths of equal steps."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from coview.data.synthetic.objects_difficulty import Difficulty
from coview.data.synthetic.signals import Draw, light, logistic, moving_field, to_bytes

FRAMES, FPS, SIZE = 8, 8.0, 48
OBJECTS = ("disc", "triangle", "square", "star", "plus", "ring")
ACTIONS = ("straight", "shuttle", "orbit", "zigzag")
_GRID, _REACH = 96, 2.0  # the distance maps: cells, and half width in units of the equal-area radius


@dataclass(frozen=True)
class Scene:
    """Factors of the picture that the sound may copy; all (B,)."""

    object: Tensor
    action: Tensor
    size: Tensor  # radius of the disc of equal area, pixels
    timing: Tensor  # phase of the step pattern, [0, 1)


def render_picture(key: Tensor, scene: Scene, difficulty: Difficulty) -> Tensor:
    """Return uint8 (B, 3, 8, 48, 48) of the scenes, with the other factors drawn from `key`."""
    draw = Draw(key)
    path = _path(draw, scene)
    inside, across = _shape(draw, scene, path, difficulty)
    steps = torch.arange(FRAMES, device=key.device)[:, None]
    heading = draw.uniform(0, 2 * math.pi)
    direction = torch.stack([heading.sin(), heading.cos()], -1)[:, None]
    shift = draw.uniform(0.3, 2.0)[:, None, None] * direction * steps + draw.normal(0.3, FRAMES, 2)
    field = (
        moving_field(draw, SIZE, draw.uniform(1.0, 1.8), shift)
        * draw.uniform(*difficulty.background)[:, None, None, None]
    )
    base = draw.uniform(0.25, 0.45)[:, None, None] + light(draw, SIZE, 0.08)
    ground = base[:, None] + field + draw.normal(0.02, FRAMES, SIZE, SIZE)

    texture = _grating(draw, across, difficulty)
    contrast = draw.log_uniform(*difficulty.contrast)[:, None, None, None]
    strength = inside * (contrast + texture)
    axis = draw.normal(1.0, 3)
    colour = 1 + 0.5 * axis / torch.sqrt((axis**2).sum(1, keepdim=True)).clamp_min(1e-6)
    return to_bytes(ground[:, None] * (1 - 0.5 * inside[:, None]) + 0.5 * base[:, None, None] * inside[:, None]
                    + colour[:, :, None, None, None] * strength[:, None])  # fmt: skip


def _path(draw: Draw, scene: Scene) -> Tensor:
    """Positions (B, 8, 2) in pixels from the frame's centre; every one of the seven steps has the same length."""
    length, start = draw.log_uniform(1.6, 3.2), draw.uniform(0, 2 * math.pi)
    offset, sense = draw.uniform(-4, 4, 2), draw.sign()
    step = torch.arange(FRAMES - 1, device=start.device)
    twice, pair = (2 * scene.timing).long()[:, None], (4 * scene.timing).long()[:, None]
    turns = torch.stack(
        [
            torch.zeros_like(start[:, None] * step),
            math.pi * (((step + pair) // 2) % 2),  # there and back, two steps each
            sense[:, None] * step * (math.pi / 3),
            sense[:, None] * ((step + twice) % 2) * (math.pi / 3),
        ],
        1,
    )
    heading = start[:, None] + turns.gather(1, scene.action[:, None, None].expand(-1, 1, FRAMES - 1))[:, 0]
    moves = length[:, None, None] * torch.stack([heading.sin(), heading.cos()], -1)
    position = functional.pad(moves.cumsum(1), (0, 0, 1, 0))
    return position - position.mean(1, keepdim=True) + offset[:, None]


def _shape(draw: Draw, scene: Scene, path: Tensor, difficulty: Difficulty) -> tuple[Tensor, Tensor]:
    """Coverage (B, T, S, S) of the object, and coordinates (B, T, S, S, 2) on it in units of its radius."""
    time = torch.linspace(-0.5, 0.5, FRAMES, device=path.device)
    angle = draw.uniform(-25, 25)[:, None] * (math.pi / 180) + draw.uniform(-0.1, 0.1)[:, None] * time
    aspect = torch.exp(draw.uniform(-difficulty.aspect, difficulty.aspect))[:, None, None, None]
    pixel = torch.arange(SIZE, device=path.device) - (SIZE - 1) / 2
    dy, dx = (pixel - path[..., :1])[..., :, None], (pixel - path[..., 1:])[..., None, :]
    cos, sin = (
        (angle.cos() / scene.size[:, None])[..., None, None],
        (angle.sin() / scene.size[:, None])[..., None, None],
    )
    x, y = (cos * dx + sin * dy) / aspect, (cos * dy - sin * dx) * aspect
    # Lobes of second and third order bend the outline.
    bend = draw.normal(difficulty.bend / math.sqrt(2), 4)[..., None, None, None]
    square = x * x + y * y
    second = bend[:, 0] * (x * x - y * y) + bend[:, 1] * 2 * x * y
    third = bend[:, 2] * x * (x * x - 3 * y * y) + bend[:, 3] * y * (3 * x * x - y * y)
    scale = 1 + second / square.clamp_min(1e-2) + third / (square * torch.sqrt(square)).clamp_min(1e-2)
    grid = torch.stack([x * scale, y * scale], -1)
    maps = _distances(path.device)[scene.object][:, None]
    flat = (grid / _REACH).flatten(1, 2)
    distance = functional.grid_sample(maps, flat, padding_mode="border", align_corners=False)
    distance = distance.reshape(-1, FRAMES, SIZE, SIZE)
    edge = draw.log_uniform(*difficulty.edge)
    return logistic(distance * (scene.size / edge)[:, None, None, None]), grid


def _grating(draw: Draw, across: Tensor, difficulty: Difficulty) -> Tensor:
    """Weak waves on the object, (B, T, S, S), moving with it."""
    turn, phase = draw.uniform(0, math.pi), draw.uniform(0, 2 * math.pi)
    wave, strength = draw.uniform(*difficulty.waves), draw.uniform(*difficulty.texture)
    kx, ky = (f * math.pi * wave for f in (turn.cos(), turn.sin()))
    angle = kx[:, None, None, None] * across[..., 0] + ky[:, None, None, None] * across[..., 1]
    return strength[:, None, None, None] * torch.cos(angle + phase[:, None, None, None])


@functools.lru_cache(maxsize=2)
def _distances(device: torch.device) -> Tensor:
    """Signed distance to the outline (positive inside), in units of the equal-area radius: (6, 96, 96)."""
    axis = (torch.arange(_GRID) + 0.5) * (2 * _REACH / _GRID) - _REACH
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = torch.sqrt(x**2 + y**2)
    hole = 0.55  # inner over outer radius of the ring
    outer = 1 / math.sqrt(1 - hole**2)
    maps = [
        1 - radius,
        _to_outline(x, y, _polygon(3, 1.5)),
        _to_outline(x, y, _polygon(4, 0.25)),
        _to_outline(x, y, _star()),
        _to_outline(x, y, _plus()),
        torch.minimum(outer - radius, radius - hole * outer),
    ]
    return torch.stack(maps).to(device)


def _polygon(corners: int, turn: float) -> Tensor:
    """Corners (n, 2) of a regular polygon of area pi; the first one at angle `turn` times pi."""
    reach = math.sqrt(2 * math.pi / (corners * math.sin(2 * math.pi / corners)))
    angle = math.pi * turn + torch.arange(corners) * (2 * math.pi / corners)
    return reach * torch.stack([angle.cos(), angle.sin()], 1)


def _star() -> Tensor:
    """A smooth star of five lobes, radius ~ 1 + .35 cos(5 angle), area pi, one lobe up."""
    angle = torch.arange(360) * (2 * math.pi / 360)
    radius = (1 + 0.35 * torch.cos(5 * (angle + math.pi / 2))) / math.sqrt(1 + 0.35**2 / 2)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


def _plus() -> Tensor:
    """A cross of five equal squares, area pi."""
    a = math.sqrt(math.pi / 5) / 2
    corner = [(a, a), (a, 3 * a), (-a, 3 * a), (-a, a), (-3 * a, a), (-3 * a, -a)]
    return torch.tensor(corner + [(-x, -y) for x, y in corner])


def _to_outline(x: Tensor, y: Tensor, corners: Tensor) -> Tensor:
    """Signed distance of points to a closed polygon: positive inside (even-odd rule)."""
    point = torch.stack([x, y], -1)[..., None, :]
    start, edge = corners, corners.roll(-1, 0) - corners
    along = ((point - start) * edge).sum(-1) / (edge**2).sum(-1)
    nearest = start + along.clamp(0, 1)[..., None] * edge
    distance = torch.sqrt(((point - nearest) ** 2).sum(-1)).amin(-1)
    end = start + edge
    crosses = (start[:, 1] > y[..., None]) != (end[:, 1] > y[..., None])
    slope = torch.where(edge[:, 1].abs() < 1e-9, 1e-9, edge[:, 1])
    right = x[..., None] < start[:, 0] + (y[..., None] - start[:, 1]) * edge[:, 0] / slope
    inside = (crosses & right).sum(-1) % 2 == 1
    return torch.where(inside, distance, -distance)
