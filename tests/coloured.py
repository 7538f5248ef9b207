"""A made set of pictures in which lightness says what a thing is, and its form says its colour."""

import torch
from torch import Tensor

from coview.data.dataset_source import DatasetSource
from coview.data.views import ImageView
from coview.objectives.colour import lab_to_srgb
from coview.randomness import integers, make_key, normal, uniform

CLASSES = tuple(
    f"{form}-{fill}" for form in ("disc", "square", "bar", "cross", "ring") for fill in ("plain", "striped")
)
SIDE = 32


class ColouredThings:
    """Things of ten kinds, 32 x 32: place, size, lightness, background and noise are of each picture its own, the hue
    of its form; implements what `DatasetSource` asks for.
    """

    def __init__(self, count: int, seed: int, views: dict[str, ImageView]) -> None:
        key = make_key(seed, torch.arange(count))
        self.labels = integers(key, 1, len(CLASSES))
        self.views, self.pictures = list(views), _pictures(key, self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return dict.fromkeys(self.views, self.pictures[row][:, None])


def source(count: int, seed: int, views: dict[str, ImageView], shuffled: bool = False) -> DatasetSource:
    """Return pictures as a source; `shuffled`: with labels that say nothing."""
    things = ColouredThings(count, seed, views)
    labels = things.labels
    if shuffled:
        labels = labels[torch.argsort(uniform(make_key(seed, torch.arange(count)), 9), stable=True)]
    name = f"things-{seed}{'-shuffled' * shuffled}"
    return DatasetSource(
        things, views, name=name, labels=labels, classes=CLASSES, ids=[f"{seed}-{row}" for row in range(count)]
    )


def _pictures(key: Tensor, label: Tensor) -> Tensor:
    """Return uint8 (N, 3, 32, 32)."""
    at = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = torch.meshgrid(at, at, indexing="ij")
    centre, radius = 0.35 + 0.3 * uniform(key, 2, 2), 0.16 + 0.12 * uniform(key, 3)
    u = (x - centre[:, :1, None]) / radius[:, None, None]
    v = (y - centre[:, 1:, None]) / radius[:, None, None]
    forms = [
        u**2 + v**2 < 1,
        (u.abs() < 0.9) & (v.abs() < 0.9),
        (u.abs() < 1.3) & (v.abs() < 0.5),
        ((u.abs() < 0.35) | (v.abs() < 0.35)) & (u.abs() < 1.2) & (v.abs() < 1.2),
        (u**2 + v**2 < 1.2) & (u**2 + v**2 > 0.35),
    ]
    inside = torch.stack(forms)[label // 2, torch.arange(len(label))]
    stripes = (torch.sin(7 * (u + v)) > 0) & (label % 2 == 1)[:, None, None]
    ground, thing = 25 + 50 * uniform(key, 4), 25 * (1 - 2 * integers(key, 5, 2))
    lightness = ground[:, None, None] + torch.where(inside, thing[:, None, None] * (1 - 0.6 * stripes.float()), 0.0)
    lightness = (lightness + 4 * normal(key, 6, SIDE, SIDE)).clamp(5, 95)
    turn = 2 * torch.pi * (label // 2) / 5
    colour = 30 * torch.stack([turn.cos(), turn.sin()], 1)[:, :, None, None] * inside[:, None]
    rgb = lab_to_srgb(torch.cat([lightness[:, None], colour], 1))
    return (255 * rgb).round().to(torch.uint8)
