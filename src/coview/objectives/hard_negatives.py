"""Synthetic hard negatives: mixtures of the nearest wrong answers, and of those with the question itself.

MoCHi, Kalantidis et al. 2020 (arXiv 2010.01028), equations 4 and 5, all vectors of unit length:

    between = normalise(a h_i + (1 - a) h_j), a in (0, 1);    towards = normalise(b x + (1 - b) h_k), b in (0, 0.5)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32
from coview.randomness import integers, uniform


@torch.no_grad()
@in_float32
def mix_hard_negatives(query: Tensor, hard: Tensor, key: Tensor, between: int, towards: int) -> Tensor:
    """Return the mixtures (B, between + towards, D), without gradient.

    Args:
        query: (B, D), unit length.
        hard: (B, H, D), every query's nearest wrong answers, unit length.
        key: int64 (B,); partners and coefficients are drawn from each sample's own.
        between: how many mix two hard negatives.
        towards: how many mix the query with a hard negative.
    """

    def pick(stream: int, count: int) -> Tensor:
        index = integers(key, stream, hard.shape[1], count)
        return hard.gather(1, index[..., None].expand(-1, -1, hard.shape[2]))

    a = uniform(key, 3, between)[..., None].to(hard.dtype)
    b = 0.5 * uniform(key, 4, towards)[..., None].to(hard.dtype)
    first = a * pick(0, between) + (1 - a) * pick(1, between)
    second = b * query[:, None] + (1 - b) * pick(2, towards)
    return normalize(torch.cat([first, second], 1), dim=2)
