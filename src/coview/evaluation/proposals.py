"""Regions that may hold an object, for Fast R-CNN: from a file, by selective search, or from the truth itself.

- a file: .npz with an array (n, 4) for every picture by its id, boxes as in `data.scenes`; or the .mat files released
  with Fast R-CNN, with `images` and `boxes` (top, left, bottom, right, counted from 1).
- "selective-search" (Uijlings et al., IJCV 2013) as OpenCV's contributed modules have it, its fast setting.
- "jittered-truth": boxes near the objects and boxes anywhere. Such figures say how well regions are told apart, not
  how well they are found: the proposals know where the objects are.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from coview.data.scenes import Scene, Scenes
from coview.errors import UsageError
from coview.files import sha256_of
from coview.randomness import make_key, normal, uniform

MOST = 2000  # regions of a picture
_NEAR, _ANYWHERE = 12, 40  # boxes near each object, and boxes anywhere
_CENTRE, _SIDE, _ANY = 1, 2, 3  # streams of a row's key


class Proposals(Protocol):
    """Where regions come from; `source` is said in results, `identity` tells these regions from others."""

    source: str
    identity: str

    def __call__(self, row: int, scene: Scene) -> Tensor:
        """Return regions float32 (n, 4) of a row of the scenes."""
        ...


def proposals_from(source: str, scenes: Scenes, seed: int) -> Proposals:
    """Return the regions of `source`: "jittered-truth", "selective-search" or a file.

    Raises:
        UsageError: OpenCV's contributed modules are missing; the file is, or it lacks a picture.
    """
    if source == "jittered-truth":
        return JitteredTruth(seed)
    if source == "selective-search":
        return SelectiveSearch()
    return FromFile(Path(source), scenes)


class JitteredTruth:
    """Boxes near the objects, moved and stretched by about a fifth, and boxes anywhere; drawn by (seed, row)."""

    source = identity = "jittered-truth"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, row: int, scene: Scene) -> Tensor:
        """See `Proposals`."""
        key, boxes = make_key(self._seed, row), scene.objects.boxes
        height, width = scene.picture.shape[1:]
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        centre = (low + high) / 2 + 0.15 * normal(key, _CENTRE, len(boxes), _NEAR, 2) * (high - low)
        half = (high - low) / 2 * torch.exp(0.2 * normal(key, _SIDE, len(boxes), _NEAR, 2))
        near = torch.cat([centre - half, centre + half], -1).flatten(0, 1)
        corner, side = torch.split(uniform(key, _ANY, _ANYWHERE, 4), 2, 1)
        edge = torch.tensor([width, height], dtype=torch.float32)
        anywhere = torch.cat([corner * edge, (corner + 0.1 + 0.5 * side) * edge], 1)
        return inside(torch.cat([near, anywhere]), height, width)


class SelectiveSearch:
    """The regions of OpenCV's selective search, at most 2000.

    Raises:
        UsageError: OpenCV is not installed, or without its contributed modules.
    """

    source = identity = "selective-search"

    def __init__(self) -> None:
        try:
            self._module: Any = importlib.import_module("cv2.ximgproc.segmentation")
        except ImportError as error:
            raise UsageError(
                "selective search needs OpenCV's contributed modules (pip install opencv-contrib-python-headless); or "
                "give regions in a file"
            ) from error

    def __call__(self, row: int, scene: Scene) -> Tensor:
        """See `Proposals`."""
        search = self._module.createSelectiveSearchSegmentation()
        search.setBaseImage(np.ascontiguousarray(scene.picture.permute(1, 2, 0).numpy()[:, :, ::-1]))  # blue first
        search.switchToSelectiveSearchFast()
        found = torch.from_numpy(np.asarray(search.process()[:MOST], np.float32)).reshape(-1, 4)
        return inside(torch.cat([found[:, :2], found[:, :2] + found[:, 2:]], 1), *scene.picture.shape[1:])


class FromFile:
    """The first 2000 regions that a file has for each picture.

    Raises:
        UsageError: it cannot be read, a picture is missing, or an array is not (n, 4).
    """

    def __init__(self, path: Path, scenes: Scenes) -> None:
        self.source, self._ids = f"file {path.name}", scenes.ids
        try:
            self._boxes = _mat(path) if path.suffix == ".mat" else _npz(path)
            self.identity = sha256_of(path)
        except Exception as error:  # whatever a parser makes of a damaged file
            raise UsageError(f"{path}: no regions can be read ({error}); expected .npz or .mat") from error
        if missing := [name for name in scenes.ids if name not in self._boxes]:
            raise UsageError(f"{path}: it lacks the regions of {len(missing)} pictures, such as {missing[0]}")
        for name in scenes.ids:
            shape = self._boxes[name].shape
            if len(shape) != 2 or shape[1] != 4 or not np.isfinite(self._boxes[name]).all():
                raise UsageError(f"{path}: the regions of {name} are {shape}; expected finite numbers (n, 4)")

    def __call__(self, row: int, scene: Scene) -> Tensor:
        """See `Proposals`."""
        boxes = torch.from_numpy(self._boxes[self._ids[row]][:MOST].astype(np.float32))
        return inside(boxes, *scene.picture.shape[1:])


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the boxes cut to the picture, without what is then smaller than a pixel."""
    cut = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height] * 2, dtype=boxes.dtype))
    kept = cut[((cut[:, 2:] - cut[:, :2]) >= 1).all(1)]
    whole = torch.tensor([[0.0, 0.0, width, height]])  # of every picture there is one region at least
    return kept if len(kept) else whole


def _npz(path: Path) -> Mapping[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _mat(path: Path) -> Mapping[str, np.ndarray[Any, Any]]:
    stored = loadmat(path)
    names = [str(np.squeeze(name)) for name in stored["images"].ravel()]
    boxes = [np.asarray(found, np.float64).reshape(-1, 4) for found in stored["boxes"].ravel()]
    return {name: found[:, (1, 0, 3, 2)] - np.array([1, 1, 0, 0]) for name, found in zip(names, boxes, strict=True)}
