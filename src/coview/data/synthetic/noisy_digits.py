"""`noisy-digits`: two views of a handwritten digit that share its class and nothing else.

The test bed of W. Wang, Arora, Livescu & Bilmes, On Deep Multi-View Representation Learning (ICML 2015), made from
scikit-learn's digits instead of MNIST. View "rotated" is a digit turned by an angle drawn uniformly from [-pi/4, pi/4];
view "noisy" is ANOTHER digit of the same class, plus uniform noise of [0, 1] on every pixel, cut off at 1. Pixels are
in [0, 1], 16 x 16. The handwriting of one split never appears in another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from coview.data.synthetic import NOISY_DIGITS
from coview.data.synthetic.digits_picture import class_members, digits
from coview.data.synthetic.world import SPLITS
from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.errors import UsageError
from coview.randomness import integers, make_key, uniform

COUNTS = {"train": 8000, "validation": 1500, "test": 1500}
SIDE = 16  # pixels
VIEWS = ("rotated", "noisy")
_VERSION = 1  # changes whenever the same (seed, split, index) gives another pair
_CLASS, _FIRST, _SECOND, _ANGLE, _NOISE = range(5)


class NoisyDigits:
    """Fixed pairs, made from (seed, split, index); implements `Source`.

    Args:
        split: "train" (of 1,000 handwritten images), "validation" (200) or "test" (597).
        count: pairs; None means 8,000, 1,500 and 1,500.
        seed: another seed gives other pairs.
        views: `FeaturesView(dim=256)` or `ImageView`s called "rotated" and "noisy"; by default features.

    Raises:
        UsageError: there is no such split or view.
    """

    def __init__(
        self,
        split: str = "train",
        count: int | None = None,
        seed: int = 0,
        views: Mapping[str, ViewSpec] | None = None,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"{NOISY_DIGITS} has no split {split!r}: use one of {', '.join(SPLITS)}")
        count = COUNTS[split] if count is None else count
        if count < 1:
            raise UsageError(f"{NOISY_DIGITS} needs a count of at least 1, found {count}")
        self.name, self.split, self.seed = NOISY_DIGITS, split, seed
        self.views: dict[str, ViewSpec] = dict(views or dict.fromkeys(VIEWS, FeaturesView(dim=SIDE**2)))
        for name, view in self.views.items():
            fits = view.raw_shape == (SIDE**2,) if view.square is None else view.raw_shape[:2] == (3, 1)
            if name not in VIEWS or not fits:
                raise UsageError(
                    f"{NOISY_DIGITS} has the views {' and '.join(VIEWS)}, pictures or features of {SIDE**2} numbers; "
                    f"found {name!r}: {view}"
                )
        self.ids = [f"{split}-{index:06d}" for index in range(count)]
        self.classes = [str(digit) for digit in range(10)]
        self.labels = integers(self._keys(), _CLASS, 10)
        self.fingerprint = hashlib.sha256(f"{NOISY_DIGITS} {_VERSION} {split} {count} {seed}".encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def pixels(self) -> dict[str, Tensor]:
        """View -> float32 (rows, 16, 16) in [0, 1]."""
        key, (table, count) = self._keys(), class_members(self.split, torch.device("cpu"))
        room = count[self.labels]
        first, step = integers(key, _FIRST, room), integers(key, _SECOND, room - 1)
        second = step + (step >= first)  # any of the others, equally likely
        pictures, _ = digits(key.device)
        angle = (uniform(key, _ANGLE) - 0.5) * (math.pi / 2)
        clean = shrink(pictures[table[self.labels, second]])
        return {
            "rotated": shrink(rotate(pictures[table[self.labels, first]], angle)),
            "noisy": (clean + uniform(key, _NOISE, SIDE, SIDE)).clamp(max=1),
        }

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """Return the pairs `row`; the key draws nothing."""
        views = {name: self._cut(self.pixels[name][row], view) for name, view in self.views.items()}
        start = {name: torch.zeros(len(row), dtype=torch.float64) for name in views}
        mirrorable = torch.zeros_like(row, dtype=torch.bool)  # a digit's mirror image is none
        return Batch(views=views, row=row, key=key, start=start, label=self.labels[row], mirrorable=mirrorable)

    def windows(self, count: int) -> int:
        """Return 1: there is no time."""
        return 1

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Return the pairs `row`."""
        return self.read(row, torch.zeros_like(row))

    def _keys(self) -> Tensor:
        split = torch.tensor(SPLITS.index(self.split))
        return make_key(torch.tensor(self.seed), split, torch.arange(len(self.ids)))

    def _cut(self, pixels: Tensor, view: ViewSpec) -> Tensor:
        if view.square is None:
            return pixels.flatten(1)
        size = (view.square[0], view.square[0])
        scaled = functional.interpolate(pixels[:, None], size=size, mode="bilinear", antialias=True)
        return (scaled.clamp(0, 1) * 255).round().to(torch.uint8)[:, :, None].expand(-1, 3, -1, -1, -1)


def rotate(pictures: Tensor, angle: Tensor) -> Tensor:
    """Turn pictures (N, S, S) about their middle by `angle` (N,) radians; what comes in from outside is 0."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    affine = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = functional.affine_grid(affine, [len(pictures), 1, *pictures.shape[1:]], align_corners=False)
    return functional.grid_sample(pictures[:, None], grid, align_corners=False)[:, 0]


def shrink(pictures: Tensor) -> Tensor:
    """Average pictures (N, 48, 48) over squares to (N, 16, 16)."""
    return functional.avg_pool2d(pictures[:, None], pictures.shape[-1] // SIDE)[:, 0]
