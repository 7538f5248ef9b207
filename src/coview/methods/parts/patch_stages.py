"""Stages that are done task by task: places to learn texture from, its dictionaries, and what is like a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.files import read_tensors, write_tensors
from coview.media.hog import BINS
from coview.methods.parts.patch_pictures import Pyramid, picture_file
from coview.objectives.patch_descriptors import patch_descriptors
from coview.objectives.stuff_model import SIDE, fit_dictionary, half_diamonds
from coview.randomness import integers

_PATCHES, _PLACES = 0x706174, 0x706C61  # streams of the draws of patches to whiten by, and of library places


@dataclass(frozen=True)
class DictionaryTask:
    """One half's dictionary, of a library's places."""

    library: Path
    out: Path
    number: int
    parts: int
    seed: int


@dataclass(frozen=True)
class DetectTask:
    """One picture, in which every seed's best patch is looked for."""

    out: Path
    row: int
    patch: int
    cell: int


def some_patches(picture: Pyramid, patch: int, count: int, key: Tensor) -> Tensor:
    """Return unit descriptors (n, K), up to `count`, drawn from all levels alike."""
    whole = [patch_descriptors(picture.cells(level), patch).flatten(0, 1) for level in range(len(picture.scales))]
    patches = torch.cat(whole)
    return patches[integers(key, _PATCHES, len(patches), min(count, len(patches)))]


def surroundings(picture: Pyramid, count: int, key: Tensor) -> Tensor:
    """Return (n, side, side, 31): the cells about up to `count` places that have all of them, at any level."""
    found = []
    for level in range(len(picture.scales)):
        cells = picture.cells(level)
        if min(cells.shape[:2]) >= SIDE:
            found.append(cells.unfold(0, SIDE, 1).unfold(1, SIDE, 1).flatten(0, 1).permute(0, 2, 3, 1))
    if not found:
        return torch.zeros(0, SIDE, SIDE, BINS)
    sizes = torch.tensor([len(part) for part in found])
    drawn = integers(key, _PLACES, int(sizes.sum()), min(count, int(sizes.sum()))).sort().values
    starts = sizes.cumsum(0) - sizes
    parts = [
        part[drawn[(drawn >= start) & (drawn < start + len(part))] - start]
        for part, start in zip(found, starts.tolist(), strict=True)
    ]
    return torch.cat(parts)


def places_in(library: Path) -> int:
    """Return how many places a library holds: float16 (n, side, side, 31), one after the other."""
    return library.stat().st_size // (2 * SIDE * SIDE * BINS)


def make_dictionary(task: DictionaryTask) -> None:
    """Fit one half's dictionary where it is not there yet."""
    if task.out.is_file():
        return
    half = half_diamonds()[..., task.number]
    patches: NDArray[np.float16] = np.memmap(task.library, np.float16, "r").reshape(-1, SIDE, SIDE, BINS)
    around = torch.from_numpy(patches[:, half.numpy()]).float()
    middle = torch.from_numpy(patches[:, SIDE // 2, SIDE // 2].copy()).float()
    write_tensors(fit_dictionary(around, middle, half, task.parts, seed=task.seed).tensors(), task.out)


def detect(task: DetectTask) -> None:
    """Write every seed's best patch in one picture: score (S,) and place (S, 4)."""
    path = task.out / "detections" / f"{task.row:07d}.safetensors"
    if path.is_file():
        return
    detectors = read_tensors(task.out / "detectors.safetensors")["detectors"]
    mean = read_tensors(task.out / "whitening.safetensors")["mean"]
    picture = Pyramid(picture_file(task.out, task.row), task.patch, task.cell)
    score, place = torch.full((detectors.shape[1],), -torch.inf), torch.zeros(detectors.shape[1], 4, dtype=torch.int16)
    for level in range(len(picture.scales)):
        for mirror in (False, True):
            patches = patch_descriptors(picture.cells(level, mirror), task.patch)
            best, where = ((patches - mean).flatten(0, 1) @ detectors).max(0)
            at = torch.stack([where // patches.shape[1], where % patches.shape[1]], 1)
            here = torch.cat([torch.full_like(at[:, :1], level), at, torch.full_like(at[:, :1], int(mirror))], 1)
            better = best > score
            score, place = torch.where(better, best, score), torch.where(better[:, None], here.to(place.dtype), place)
    write_tensors({"score": score, "place": place}, path)
