"""Slow and steady features: what is near in time lies near, and what changes goes on changing alike.

Jayaraman & Grauman, CVPR 2016 (arXiv 1506.04714). With p = 1 for frames that belong together and 0 for others,

    D_delta(a, b, p) = p d(a, b) + (1 - p) max(delta - d(a, b), 0)
    slow:   D_delta(z_j, z_k, p),                  p = 1 where |j - k| <= T
    steady: D_delta(z_l - z_m, z_m - z_n, p),      p = 1 where m - l = n - m <= T

The paper does not fix d. DrLIM (Hadsell, Chopra & LeCun 2006) squares both terms of D, which is another loss: p d^2 +
(1 - p) max(delta - d, 0)^2 with d Euclidean. Steadiness without its negatives is 0 for constant features, and for any
that move at constant speed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from coview.objectives.precision import in_float32

Distance = Literal["l2", "sq", "l1", "drlim"]  # Euclidean, its square, sum of absolute values; DrLIM


@in_float32
def contrast(a: Tensor, b: Tensor, together: Tensor | bool, margin: float, distance: Distance) -> Tensor:
    """Return D (...) of vectors a and b (..., D); `together` (bool, broadcast to (...)) is p, `margin` delta.

    Of equal vectors the Euclidean distance has gradient 0: frames are repeated in real films.
    """
    apart = _distance(a - b, distance)
    short = torch.relu(margin - apart)
    if distance == "drlim":
        apart, short = apart.square(), short.square()
    return torch.where(torch.as_tensor(together, device=apart.device), apart, short)


def _distance(difference: Tensor, distance: Distance) -> Tensor:
    if distance == "l1":
        return difference.abs().sum(-1)
    squared = difference.square().sum(-1)
    if distance == "sq":
        return squared
    moved = squared > 0
    return torch.where(moved, torch.where(moved, squared, 1.0).sqrt(), 0.0)


@in_float32
def slow(j: Tensor, k: Tensor, together: Tensor | bool, margin: float, distance: Distance) -> Tensor:
    """Return the terms (...) of slowness of features of two moments, both (..., D)."""
    return contrast(j, k, together, margin, distance)


@in_float32
def steady(l: Tensor, m: Tensor, n: Tensor, together: Tensor | bool, margin: float, distance: Distance) -> Tensor:  # noqa: E741
    """Return the terms (...) of steadiness of features of three moments, all (..., D), one step after the other."""
    return contrast(l - m, m - n, together, margin, distance)


def moments(frames: int, most: int) -> tuple[Tensor, Tensor]:
    """Return all pairs j < k (P, 2) of a clip's frames, and all triplets (Q, 3) in equal steps of at most `most`."""
    pairs = torch.combinations(torch.arange(frames))
    steps = range(1, min(most, (frames - 1) // 2) + 1)
    triplets = [(at, at + step, at + 2 * step) for step in steps for at in range(frames - 2 * step)]
    return pairs, torch.tensor(triplets, dtype=torch.int64).reshape(-1, 3)
