"""Scenes: whole pictures with the boxes of their objects and the class of every pixel, for detection and segmentation.

Boxes are float32 (n, 4), left, top, right, bottom in pixels from the picture's corner: a box of one pixel is 1 wide.
Masks are uint8 (H, W): 0 background, k + 1 for the k-th class, 255 not to be counted.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.whole_pictures import Pictures, WithAnothersTruth

VOID = 255  # a pixel that does not count
_OTHER = 11  # stream of the permutation


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


class Scenes(Pictures, Protocol):
    """Pictures with objects or masks, by row."""

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


def mirrored(scene: Scene) -> Scene:
    """Return a scene with left and right exchanged."""
    objects = scene.objects._replace(boxes=mirrored_boxes(scene.objects.boxes, scene.picture.shape[2]))
    return Scene(scene.picture.flip(2), objects, None if scene.mask is None else scene.mask.flip(1))


def mirrored_boxes(boxes: Tensor, width: int) -> Tensor:
    """Return boxes of a picture so many pixels wide with left and right exchanged."""
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([width - right, top, width - left, bottom], 1)


class Permuted(WithAnothersTruth[Scenes]):
    """The same pictures, each with the truth of another, scaled to its size."""

    def __init__(self, scenes: Scenes, seed: int) -> None:
        super().__init__(scenes, seed, _OTHER)

    def __getitem__(self, row: int) -> Scene:
        return Scene(self._pictures[row].picture, self.truth(row), self.mask(row))

    def truth(self, row: int) -> Objects:
        """See `Scenes.truth`."""
        other = int(self._other[row])
        (high, wide), (height, width) = self._pictures.size(other), self.size(row)
        objects = self._pictures.truth(other)
        return objects._replace(boxes=objects.boxes * torch.tensor([width / wide, height / high] * 2))

    def mask(self, row: int) -> Tensor | None:
        """See `Scenes.mask`."""
        mask = self._pictures.mask(int(self._other[row]))
        return None if mask is None else interpolate(mask[None, None], self.size(row), mode="nearest")[0, 0]

    def size(self, row: int) -> tuple[int, int]:
        """See `Scenes.size`."""
        return self._pictures.size(row)
