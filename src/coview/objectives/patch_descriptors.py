"""Patches of a grid of cells: descriptors, their whitening, detectors made of one patch, and where to look first.

Doersch, Gupta & Efros, ECCV 2014, after Hariharan, Malik & Ramanan, "Discriminative decorrelation for clustering and
classification", ECCV 2012: a whitened patch is a linear detector of patches like it, without any training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, normalize

from coview.randomness import uniform

RIDGE = 1e-2  # on the covariance of descriptors
_RACE = 0x736565  # stream of the draw of seeds


def patch_descriptors(cells: Tensor, patch: int) -> Tensor:
    """Return (rows - patch + 1, columns - patch + 1, patch * patch * D): the unit descriptor of every patch.

    Args:
        cells: (rows, columns, D), at least `patch` along a side.
    """
    patches = cells.unfold(0, patch, 1).unfold(1, patch, 1).permute(0, 1, 3, 4, 2)
    return normalize(patches.flatten(2), dim=-1)


@dataclass(frozen=True)
class Whitening:
    """Mean (K,) of unit descriptors, and the symmetric root (K, K) of the inverse of their covariance + `RIDGE` I."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, count: int, total: Tensor, outer: Tensor) -> Whitening:
        """Return the whitening of descriptors from their number, sum (K,) and sum of outer products (K, K)."""
        mean = total / count
        covariance = (outer / count - mean[:, None] * mean).double()
        values, vectors = torch.linalg.eigh(covariance)
        root = (vectors * (values.clamp(min=0) + RIDGE).rsqrt()) @ vectors.T
        return cls(mean, root.to(mean.dtype))

    def __call__(self, descriptors: Tensor) -> Tensor:
        """Return descriptors (..., K) whitened, of unit length again."""
        return normalize((descriptors - self.mean) @ self.root, dim=-1)

    def detectors(self, descriptors: Tensor) -> Tensor:
        """Return (K, S): what a descriptor less the mean is multiplied by to be compared with S patches (S, K)."""
        return self.root @ self(descriptors).T


def box_overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Return (N, M): intersection over union of boxes (N, 4) and (M, 4), each left, top, right, bottom."""
    low = torch.maximum(boxes[:, None, :2], others[:, :2])
    high = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    common = (high - low).clamp(min=0).prod(-1)
    area, other = ((each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, others))
    return common / (area[:, None] + other - common).clamp(min=torch.finfo(common.dtype).tiny)


def draw_seeds(
    energies: Sequence[Tensor], scales: Sequence[float], patch: int, count: int, key: Tensor, overlap: float = 0.6
) -> list[tuple[int, int, int]]:
    """Return up to `count` places (level, row, column) of patches, drawn where there is much gradient.

    A place is drawn with a chance that is proportional to the energy about its middle, smoothed with a deviation of a
    third of the patch; one that overlaps an earlier one by more than `overlap` is left out. None where all is plain.

    Args:
        energies: gradient energy (rows, columns) of each level.
        scales: by how much each level is shrunk.
        key: int64 scalar that the draw follows from.
    """
    steps = torch.arange(patch, dtype=torch.float32) - (patch - 1) / 2
    bell = torch.exp(-steps.square() / (2 * (patch / 3) ** 2))
    kernel = (bell[:, None] * bell / bell.sum() ** 2)[None, None]
    chances, places, boxes = list[Tensor](), list[Tensor](), list[Tensor]()
    for level, (energy, scale) in enumerate(zip(energies, scales, strict=True)):
        smooth = conv2d(energy[None, None].float(), kernel)[0, 0]
        at = torch.ones_like(smooth, dtype=torch.bool).nonzero()
        chances.append(smooth.flatten())
        places.append(torch.cat([torch.full((len(at), 1), level), at], 1))
        corner = at.flip(1) * scale
        boxes.append(torch.cat([corner, corner + patch * scale], 1))
    chance, place, box = torch.cat(chances), torch.cat(places), torch.cat(boxes)
    # A race: each place arrives after an exponential time of its own rate, so the first is drawn by its chance.
    time = -uniform(key, _RACE, len(chance)).clamp(min=1e-9).log() / chance.clamp(min=1e-12)
    time[chance <= 0] = torch.inf
    found: list[tuple[int, int, int]] = []
    for _ in range(count):
        first = int(time.argmin())
        if not bool(torch.isfinite(time[first])):
            break
        level, row, column = place[first].tolist()
        found.append((level, row, column))
        time[box_overlap(box[first : first + 1], box)[0] > overlap] = torch.inf
    return found


def window_of(values: Tensor, top: int, left: int, patch: int, reach: int) -> tuple[Tensor, Tensor]:
    """Return the cells about a patch, 0 outside, and which are inside: (side, side, ...), side = patch + 2 reach.

    Args:
        values: (rows, columns, ...).
        top, left: the patch's first cell.
        reach: cells to every side of the patch.
    """
    side, (rows, columns) = patch + 2 * reach, values.shape[:2]
    window, inside = values.new_zeros(side, side, *values.shape[2:]), torch.zeros(side, side, dtype=torch.bool)
    first, begin = max(0, top - reach), max(0, left - reach)
    last, end = min(rows, top + patch + reach), min(columns, left + patch + reach)
    part = slice(first - top + reach, last - top + reach), slice(begin - left + reach, end - left + reach)
    window[part], inside[part] = values[first:last, begin:end], True
    return window, inside
