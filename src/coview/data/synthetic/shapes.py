"""`shapes`: pictures of several shapes on textured ground, with boxes and masks; a small world for dense tasks.

A shape's kind is its class. Its hue goes with its kind, as in nature, but for a share of the shapes; lightness alone
says nothing of the class but through the outline.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from coview.data.scenes import VOID, Objects, Scene
from coview.data.synthetic.signals import Draw, light, logistic, moving_field, to_bytes
from coview.data.synthetic.world import SPLITS
from coview.errors import UsageError
from coview.randomness import integers, make_key

KINDS = ("cross", "disc", "square", "triangle")
_VERSION = 1  # changes whenever the same (seed, split, index) gives another picture
_SPARE = 0.12  # share of shapes whose hue is any
_TRIES = 8  # places drawn for a shape, of which the freest is taken
_EDGE = 0.75  # pixels on either side of an outline that count as neither side
_CHUNK = 32
_KIND, _COUNT = 5001, 5002  # streams, apart from the numbered ones of Draw


class ShapesWorld:
    """Square pictures of one to `most` shapes, made when they are asked for; implements `Scenes`.

    A scene depends on (seed, split, index) alone. A row's label (`labels`, int64) is the kind of its first shape, which
    is the whole truth where `most` is 1.

    Args:
        most: shapes in a picture.
        size: side of a picture in pixels.
        radius: of the smallest and the largest shape, as shares of the side.

    Raises:
        UsageError: unknown split; no picture; too small ones; or shapes that do not fit.
    """

    classes: Sequence[str] = KINDS
    problems: Sequence[tuple[str, str]] = ()

    def __init__(
        self,
        split: str = "train",
        count: int = 500,
        seed: int = 0,
        *,
        most: int = 3,
        size: int = 64,
        radius: tuple[float, float] = (0.14, 0.24),
    ) -> None:
        if split not in SPLITS or min(count, most) < 1 or size < 32 or not 0 < radius[0] <= radius[1] < 0.5:
            raise UsageError(
                f"shapes: expected a split ({', '.join(SPLITS)}), a picture, a shape and 32 pixels at least, and radii "
                f"below half of the side; found {split!r}, {count}, {most}, {size}, {radius}"
            )
        self.split, self.seed, self.most, self.side, self.radius = split, seed, most, size, radius
        self.name = f"shapes ({split})"
        self.ids = [f"{split}-{index:06d}" for index in range(count)]
        text = f"shapes {_VERSION} {split} {count} {seed} {most} {size} {radius}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        parts = [self._render(part) for part in torch.split(torch.arange(count), _CHUNK)]
        self.pictures, self.masks = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        self._truth = [objects for part in parts for objects in part[2]]
        self.labels = torch.cat([part[3] for part in parts])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Scene:
        return Scene(self.pictures[row], self._truth[row], self.masks[row])

    def truth(self, row: int) -> Objects:
        """See `Scenes.truth`."""
        return self._truth[row]

    def mask(self, row: int) -> Tensor:
        """See `Scenes.mask`."""
        return self.masks[row]

    def size(self, row: int) -> tuple[int, int]:
        """See `Scenes.size`."""
        return self.side, self.side

    def mirrorable(self, row: int) -> bool:
        """See `Scenes.mirrorable`: every shape is like its mirror image, turned."""
        return True

    def _render(self, index: Tensor) -> tuple[Tensor, Tensor, list[Objects], Tensor]:
        """Return pictures uint8 (B, 3, S, S), masks uint8 (B, S, S), objects, and the first shapes' kinds (B,)."""
        key, size = make_key(self.seed, SPLITS.index(self.split), index), self.side
        draw = Draw(key)
        picture = _ground(draw, size)
        mask = torch.zeros(len(key), size, size, dtype=torch.int64)
        kind, there = integers(key, _KIND, len(KINDS), self.most), integers(key, _COUNT, self.most)
        radius = size * draw.log_uniform(*self.radius, self.most)
        centre, turn = _places(draw, radius, size), draw.uniform(0, 2 * math.pi, self.most)
        for k in range(self.most):
            distance = _distance(kind[:, k], centre[:, k], radius[:, k], turn[:, k], size)
            distance = torch.where((k <= there)[:, None, None], distance, torch.inf)
            picture = _covered(draw, picture, logistic(-4 * distance), kind[:, k])
            mask = torch.where(distance < _EDGE, VOID, mask)
            mask = torch.where(distance < -_EDGE, kind[:, k, None, None] + 1, mask)
        picture = picture + draw.normal(0.02, 3, size, size)
        mask = mask.to(torch.uint8)
        seen = zip(mask, kind, centre, radius, (there + 1).tolist(), strict=True)
        objects = [_objects(m, one[:count], c[:count], r[:count]) for m, one, c, r, count in seen]
        return to_bytes(picture), mask, objects, kind[:, 0]


def _ground(draw: Draw, size: int) -> Tensor:
    """Return textured ground (B, 3, S, S) of a faint tint."""
    still = torch.zeros(len(draw.key), 2, 2)
    field = 0.09 * moving_field(draw, size, draw.uniform(0.8, 1.6), still)[:, :1]
    tint = 1 + draw.uniform(-0.15, 0.15, 3)[:, :, None, None]
    return ((draw.uniform(0.3, 0.6)[:, None, None] + light(draw, size, 0.08))[:, None] + field) * tint


def _covered(draw: Draw, picture: Tensor, cover: Tensor, kind: Tensor) -> Tensor:
    """Return pictures (B, 3, S, S) with grainy shapes, lighter or darker, where `cover` (B, S, S) is 1."""
    odd, any_hue = draw.uniform(0, 1) < _SPARE, draw.uniform(0, 1)
    hue = torch.where(odd, any_hue, kind / len(KINDS) + draw.uniform(-0.05, 0.05))
    angle = 2 * math.pi * (hue[:, None] - torch.arange(3) / 3)
    colour = (1 + 0.55 * angle.cos())[:, :, None, None]  # the mean over red, green and blue is 1
    apart = (draw.uniform(0.16, 0.3) * draw.sign())[:, None, None, None]
    level = 0.3 * picture.mean(1, keepdim=True) + 0.32 + apart + draw.normal(0.05, *picture.shape[2:])[:, None]
    return torch.lerp(picture, level * colour, cover[:, None])


def _places(draw: Draw, radius: Tensor, size: int) -> Tensor:
    """Return centres (B, K, 2), (y, x): of the places drawn for a shape the one furthest from the shapes before it."""
    tries = draw.uniform(0, 1, radius.shape[1], _TRIES, 2)
    tries = radius[..., None, None] + tries * (size - 2 * radius[..., None, None])
    centre = tries[:, :1, 0]
    for k in range(1, radius.shape[1]):
        gap = (tries[:, k, :, None] - centre[:, None]).norm(dim=-1) - radius[:, None, :k] - radius[:, k, None, None]
        best = gap.amin(-1).argmax(-1)
        centre = torch.cat([centre, tries[torch.arange(len(tries)), k, best][:, None]], 1)
    return centre


def _distance(kind: Tensor, centre: Tensor, radius: Tensor, turn: Tensor, size: int) -> Tensor:
    """Return the distance of every pixel from an outline, (B, S, S), negative inside; no shape leaves its radius."""
    steps = torch.arange(size) + 0.5
    y, x = steps[:, None] - centre[:, 0, None, None], steps[None] - centre[:, 1, None, None]
    cos, sin, r = turn.cos()[:, None, None], turn.sin()[:, None, None], radius[:, None, None]
    u, v = (cos * x + sin * y), (cos * y - sin * x)
    arms = [torch.maximum(a.abs() - 0.95 * r, b.abs() - 0.3 * r) for a, b in ((u, v), (v, u))]
    corners = [u * math.cos(angle) + v * math.sin(angle) for angle in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
    each = torch.stack([
        torch.minimum(*arms),
        (u**2 + v**2).sqrt() - 0.8 * r,
        torch.maximum(u.abs(), v.abs()) - 0.7 * r,
        torch.stack(corners).amax(0) - 0.5 * r,
    ])  # fmt: skip
    return each[kind, torch.arange(len(kind))]


def _objects(mask: Tensor, kind: Tensor, centre: Tensor, radius: Tensor) -> Objects:
    """Return the boxes around what is seen of the shapes of one picture (S, S)."""
    steps = torch.arange(len(mask)) + 0.5
    boxes, numbers = [], []
    for number, middle, reach in zip(kind, centre, radius, strict=True):
        near = (steps[:, None] - middle[0]) ** 2 + (steps[None] - middle[1]) ** 2 <= reach**2
        rows, columns = torch.nonzero(near & (mask == number + 1), as_tuple=True)
        if len(rows):  # else wholly behind others
            edge = [columns.min() - 1, rows.min() - 1, columns.max() + 2, rows.max() + 2]
            boxes.append(torch.stack(edge).clamp(0, len(mask)))
            numbers.append(number)
    if not boxes:
        return Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    return Objects(torch.stack(boxes).float(), torch.stack(numbers), torch.zeros(len(boxes), dtype=torch.bool))
