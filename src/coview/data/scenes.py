"""Scenes: whole pictures with the boxes of their objects and the class of every pixel, for detection and segmentation.

Boxes are float32 (n, 4), left, top, right, bottom in pixels from the picture's corner: a box of one pixel is 1 wide.
Masks are uint8 (H, W): 0 background, k + 1 for the k-th class, 255 not to be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.randomness import make_key, uniform

VOID = 255  # a pixel that does not count


class Objects(NamedTuple):
    """What is in a picture: boxes (n, 4), the numbers of their classes int64 (n,), and whether each is difficult."""

    boxes: Tensor
    classes: Tensor
    difficult: Tensor


class Scene(NamedTuple):
    """A picture, uint8 (3, H, W), its objects, and its mask, where it has one."""

    picture: Tensor
    objects: Objects
    mask: Tensor | None


class Scenes(Protocol):
    """Pictures with truth, by row; the same row gives the same scene."""

    name: str
    fingerprint: str

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes in the order of their numbers."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Names of the pictures."""
        ...

    @property
    def problems(self) -> Sequence[tuple[str, str]]:
        """Pairs (id, reason) of pictures that were left out."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Scene: ...

    def truth(self, row: int) -> Objects:
        """Return a row's objects alone: no picture is read."""
        ...

    def mask(self, row: int) -> Tensor | None:
        """Return a row's mask alone."""
        ...

    def size(self, row: int) -> tuple[int, int]:
        """Return height and width of a row's picture."""
        ...

    def mirrorable(self, row: int) -> bool:
        """Return whether left and right of a row's picture may be exchanged."""
        ...


def mirrored(scene: Scene) -> Scene:
    """Return a scene with left and right exchanged."""
    objects = scene.objects._replace(boxes=mirrored_boxes(scene.objects.boxes, scene.picture.shape[2]))
    return Scene(scene.picture.flip(2), objects, None if scene.mask is None else scene.mask.flip(1))


def mirrored_boxes(boxes: Tensor, width: int) -> Tensor:
    """Return boxes of a picture so many pixels wide with left and right exchanged."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([width - right, top, width - left, bottom], 1)


class Permuted:
    """The same pictures, each with the truth of another, scaled to its size: a control that must find nothing."""

    def __init__(self, scenes: Scenes, seed: int) -> None:
        self._scenes = scenes
        self.name, self.classes, self.ids, self.problems = scenes.name, scenes.classes, scenes.ids, scenes.problems
        self.digests, self.contents = getattr(scenes, "digests", None), getattr(scenes, "contents", None)
        self.fingerprint = f"{scenes.fingerprint}-permuted-{seed}"
        order = torch.argsort(uniform(make_key(seed, torch.arange(len(scenes))), 11), stable=True)
        self._other = torch.empty_like(order)
        self._other[order] = order.roll(1)  # one round through all: none keeps its own

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, row: int) -> Scene:
        return Scene(self._scenes[row].picture, self.truth(row), self.mask(row))

    def truth(self, row: int) -> Objects:
        """See `Scenes.truth`."""
        other = int(self._other[row])
        (high, wide), (height, width) = self._scenes.size(other), self.size(row)
        objects = self._scenes.truth(other)
        return objects._replace(boxes=objects.boxes * torch.tensor([width / wide, height / high] * 2))

    def mask(self, row: int) -> Tensor | None:
        """See `Scenes.mask`."""
        mask = self._scenes.mask(int(self._other[row]))
        return None if mask is None else interpolate(mask[None, None], self.size(row), mode="nearest")[0, 0]

    def size(self, row: int) -> tuple[int, int]:
        """See `Scenes.size`."""
        return self._scenes.size(row)

    def mirrorable(self, row: int) -> bool:
        """See `Scenes.mirrorable`."""
        return self._scenes.mirrorable(row)
