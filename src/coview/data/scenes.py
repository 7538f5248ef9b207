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
    """Pictures with truth, by row; the same row gives the same scene.

    `problems` are (id, reason) of pictures that were left out.
    """

    name: str
    fingerprint: str
    classes: Sequence[str]
    ids: Sequence[str]
    problems: Sequence[tuple[str, str]]

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Scene: ...

    def truth(self, row: int) -> Objects:
        """Return a row's objects alone."""
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
        self.fingerprint = f"{scenes.fingerprint}-permuted-{seed}"
        order = torch.argsort(uniform(make_key(seed, torch.arange(len(scenes))), 11), stable=True)
        self._other = torch.empty_like(order)
        self._other[order] = order.roll(1)  # one round through all: none keeps its own

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, row: int) -> Scene:
        picture, other = self._scenes[row].picture, self._scenes[int(self._other[row])]
        height, width = picture.shape[1:]
        scale = torch.tensor([width, height] * 2) / torch.tensor([*other.picture.shape[:0:-1]] * 2)
        mask = other.mask
        if mask is not None:
            mask = interpolate(mask[None, None], (height, width), mode="nearest")[0, 0]
        return Scene(picture, other.objects._replace(boxes=other.objects.boxes * scale), mask)

    def truth(self, row: int) -> Objects:
        """See `Scenes.truth`."""
        return self[row].objects
