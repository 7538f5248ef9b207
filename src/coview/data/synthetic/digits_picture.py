"""The picture side of `digits-av`: a real handwritten digit drifting over a moving noise field."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from coview.data.synthetic.digits_level import Level
from coview.data.synthetic.signals import Draw, light, logistic, moving_field, to_bytes
from coview.randomness import integers

FRAMES, FPS, SIZE = 8, 16.0, 32
# Handwriting of the training part never appears in validation or test.
IMAGES = {"train": (0, 1000), "validation": (1000, 1200), "test": (1200, 1797)}
_PICK = 1000  # stream of the image's draw, apart from the numbered streams of Draw


@functools.lru_cache(maxsize=2)
def digits(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the 1,797 digits as float32 (1797, 48, 48) of [0, 1] (12 x 12 pixels enlarged), and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    small = torch.from_numpy(np.asarray(data.images, dtype=np.float32)) / 16
    padded = functional.pad(small[:, None], (2, 2, 2, 2))
    large = functional.interpolate(padded, size=(48, 48), mode="bicubic", align_corners=False).clamp(0, 1)
    return large[:, 0].to(device), torch.from_numpy(np.asarray(data.target, dtype=np.int64)).to(device)


@functools.lru_cache(maxsize=6)
def class_members(split: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the image numbers of each class in a split: padded (10, longest) and the counts (10,)."""
    first, last = IMAGES[split]
    classes = digits(device)[1][first:last]
    lists = [torch.nonzero(classes == c)[:, 0] + first for c in range(10)]
    return torch.nn.utils.rnn.pad_sequence(lists, batch_first=True), torch.tensor(
        [len(x) for x in lists], device=device
    )


def pick_image(key: Tensor, label: Tensor, split: str) -> Tensor:
    """Return the number of the handwritten image of each clip, int64 (B,), drawn among those of its class and split."""
    table, count = class_members(split, key.device)
    return table[label, integers(key, _PICK, count[label])]


def render_picture(key: Tensor, image: Tensor, level: Level) -> Tensor:
    """Return uint8 (B, 3, 8, 32, 32), three equal channels, of the images `image` (B,); `key` draws the rest."""
    draw = Draw(key)
    time = (torch.arange(FRAMES, device=key.device) - (FRAMES - 1) / 2) / FPS
    threshold = draw.uniform(*level.threshold)[:, None, None]
    ink = logistic(9 * (digits(key.device)[0][image] - threshold)) - logistic(-9 * threshold)
    grid = _pose(draw, time, level)
    stroke = functional.grid_sample(ink[:, None], grid.flatten(1, 2), align_corners=False)
    stroke = stroke.reshape(-1, FRAMES, SIZE, SIZE)

    exponent, contrast = draw.uniform(1.0, 1.8), draw.uniform(*level.background)
    field = moving_field(draw, SIZE, exponent, _drift(draw, time)) * contrast[:, None, None, None]
    base = draw.uniform(0.38, 0.62)[:, None, None] + light(draw, SIZE, 0.1)
    ink_contrast = (draw.sign() * draw.uniform(*level.contrast))[:, None, None, None]
    picture = base[:, None] + field * (1 - 0.7 * stroke) + ink_contrast * stroke
    picture = picture + draw.normal(0.03, FRAMES, SIZE, SIZE)
    return to_bytes(picture)[:, None].repeat(1, 3, 1, 1, 1)


def _pose(draw: Draw, time: Tensor, level: Level) -> Tensor:
    """Sampling positions (B, T, 32, 32, 2) in the digit's own coordinates, as `grid_sample` wants them."""
    size, growth = draw.log_uniform(*level.size), draw.uniform(-0.2, 0.2)
    height = size[:, None] * (1 + growth[:, None] * time / 0.5)
    turn = draw.uniform(-25, 25)[:, None] + draw.uniform(-60, 60)[:, None] * time
    angle = turn * (math.pi / 180)
    shear, aspect = draw.uniform(-0.2, 0.2)[:, None], torch.exp(draw.uniform(-0.12, 0.12))[:, None]
    speed, heading = 20 * draw.uniform(0.2, 1.0)[:, None] * time, draw.uniform(0, 2 * math.pi)[:, None]
    centre = draw.uniform(-3, 3, 2)
    x0 = (centre[:, :1] + speed * heading.cos()).clamp(-7, 7)
    y0 = (centre[:, 1:] + speed * heading.sin()).clamp(-7, 7)
    # Frame to digit: turn back, undo the shear, then the stretch; the padded digit is 12 source pixels = 2 units wide.
    unit = 8 / height / 6
    cos, sin = angle.cos() * unit, angle.sin() * unit
    matrix = torch.stack([(cos + shear * sin) / aspect, (sin - shear * cos) / aspect, -sin * aspect, cos * aspect], -1)
    pixel = torch.arange(SIZE, device=time.device) - (SIZE - 1) / 2
    dx, dy = (pixel - x0[..., None])[:, :, None, :], (pixel - y0[..., None])[:, :, :, None]
    a, b, c, d = (matrix[..., i, None, None] for i in range(4))
    return torch.stack([a * dx + b * dy, c * dx + d * dy], -1)


def _drift(draw: Draw, time: Tensor) -> Tensor:
    """Displacement (B, T, 2) of the background in pixels: steady, plus a random walk of half a pixel per frame."""
    speed, heading = draw.log_uniform(4, 30)[:, None], draw.uniform(0, 2 * math.pi)[:, None]
    walk = draw.normal(0.5, FRAMES, 2).cumsum(1)
    return torch.stack([speed * heading.sin() * time, speed * heading.cos() * time], -1) + walk
