"""The scene of `pushes`: an arm with a round tip, four square blocks that it pushes aside, and how they are drawn.

Lengths are in pixels from the middle of the frame, (y, x). The tip moves as it is told. A block that it runs into is
pushed along the shortest way out of the tip; blocks slide over each other, and stop at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coview.data.synthetic.signals import Draw, light, moving_field, to_bytes

FRAMES, FPS, SIZE = 10, 10.0, 32
BLOCKS = ("red", "green", "blue", "yellow")
LARGEST = 2.0  # pixels of the largest move, which is an action of length 1
_COLOURS = ((0.9, 0.2, 0.15), (0.15, 0.75, 0.25), (0.2, 0.35, 0.95), (0.95, 0.85, 0.2))
_TIP, _ARM = (0.95, 0.95, 0.95), (0.55, 0.5, 0.5)
_RADIUS, _THICK = 2.0, 0.8  # of the tip; half the arm's width
_QUARTERS = ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0))


@dataclass(frozen=True)
class Scene:
    """Where everything is; T pictures."""

    arm: Tensor  # (B, T, 2), the middle of the tip
    blocks: Tensor  # (B, T, 4, 2), the middles of the blocks, by colour
    half: Tensor  # (B, 4), half their sides
    actions: Tensor  # (B, T, 2), moves from each picture to the next, in units of `LARGEST`
    quarter: Tensor  # int64 (B,), where the pushed block lies at first


def simulate(key: Tensor, pushed: Tensor) -> Scene:
    """Return the scenes in which the blocks `pushed` (int64 (B,)) are aimed at; `key` (B,) draws the rest."""
    draw, batch = Draw(key), torch.arange(len(key), device=key.device)
    quarters = draw.uniform(0, 1, len(BLOCKS)).argsort(1)
    corner = torch.tensor(_QUARTERS, device=key.device)[quarters]
    half = draw.uniform(2.5, 3.5, len(BLOCKS))
    blocks = 7 * corner + draw.uniform(-1.5, 1.5, len(BLOCKS), 2)

    # The arm begins outside of the block, a few pixels away from it.
    away = torch.atan2(corner[batch, pushed, 0], corner[batch, pushed, 1]) + draw.uniform(-1.2, 1.2)
    distance = half[batch, pushed] + _RADIUS + draw.uniform(0.5, 2.5)
    arm = blocks[batch, pushed] + distance[:, None] * _towards(away)
    turn, length = draw.uniform(-1.4, 1.4, FRAMES), draw.uniform(0.5, LARGEST, FRAMES)
    arms, places, actions = [], [], []
    for step in range(FRAMES):
        arms.append(arm)
        places.append(blocks)
        way = blocks[batch, pushed] - arm
        move = length[:, step, None] * _towards(torch.atan2(way[:, 0], way[:, 1]) + turn[:, step])
        move = (arm + move).clamp(-SIZE / 2, SIZE / 2) - arm
        arm = arm + move
        blocks = blocks + _pushed(arm, blocks, half)
        actions.append(move / LARGEST)
    stacked = (torch.stack(each, 1) for each in (arms, places, actions))
    arm, blocks, moves = stacked
    return Scene(arm, blocks, half, moves, quarters[batch, pushed])


def render_scene(key: Tensor, scene: Scene) -> Tensor:
    """Return uint8 (B, 3, T, 32, 32) of scenes on a ground that `key` draws and that stays as it is."""
    draw = Draw(key)
    still = torch.zeros(len(key), 2, 2, device=key.device)
    field = (
        moving_field(draw, SIZE, draw.uniform(1.0, 1.8), still)[:, :1] * draw.uniform(0.02, 0.08)[:, None, None, None]
    )
    ground = draw.uniform(0.3, 0.45)[:, None, None, None] + light(draw, SIZE, 0.08)[:, None] + field
    picture = ground[:, None].expand(-1, 3, FRAMES, -1, -1)

    pixel = torch.arange(SIZE, device=key.device) - (SIZE - 1) / 2
    shade = draw.uniform(0.8, 1.0, len(BLOCKS))
    for number, colour in enumerate(_COLOURS):
        dy, dx = _from(pixel, scene.blocks[:, :, number])
        half = scene.half[:, number, None, None, None]
        cover = _inside(half - dy.abs()) * _inside(half - dx.abs())
        tone = torch.tensor(colour, device=key.device) * shade[:, number, None]
        picture = _over(picture, cover, tone)
    dy, dx = _from(pixel, scene.arm)
    rod = _inside(_THICK - dx.abs()) * _inside(-dy)  # it comes in from above
    tip = _inside(_RADIUS - torch.sqrt(dy**2 + dx**2))
    for cover, colour in ((rod, _ARM), (tip, _TIP)):
        picture = _over(picture, cover, torch.tensor(colour, device=key.device).expand(len(key), 3))
    return to_bytes(picture)


def _pushed(arm: Tensor, blocks: Tensor, half: Tensor) -> Tensor:
    """Return how far the tip at `arm` (B, 2) pushes blocks (B, 4, 2): out of itself, by the shortest way."""
    off = arm[:, None] - blocks
    nearest = torch.maximum(torch.minimum(off, half[..., None]), -half[..., None])
    way = nearest - off
    apart = torch.sqrt((way**2).sum(-1, keepdim=True))
    return way / apart.clamp_min(1e-6) * (_RADIUS - apart).clamp_min(0.0)


def _towards(angle: Tensor) -> Tensor:
    """Return (..., 2), the step (y, x) of length 1 at an angle."""
    return torch.stack([angle.sin(), angle.cos()], -1)


def _from(pixel: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far every pixel lies from places (B, T, 2): down, (B, T, S, 1), and to the right, (B, T, 1, S)."""
    return (pixel - place[..., :1])[..., :, None], (pixel - place[..., 1:])[..., None, :]


def _inside(distance: Tensor) -> Tensor:
    """Return the share of a pixel that lies inside of an edge, which is `distance` away from its middle."""
    return (distance + 0.5).clamp(0, 1)


def _over(picture: Tensor, cover: Tensor, colour: Tensor) -> Tensor:
    """Lay a colour (B, 3) over pictures (B, 3, T, S, S) where `cover` (B, T, S, S) says."""
    return picture + cover[:, None] * (colour[:, :, None, None, None] - picture)
