"""Attention maps over the positions of a feature map: making them, comparing them, and how spread they are.

For CMAC (Min et al. 2021, arXiv 2106.06939), reconstructed from its abstract. A map is (N, P), P positions of time and
space or of frequency and time in one order, positive, with sum 1.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32

_FLOOR = 1e-12  # of a probability whose logarithm is taken

Distance = Literal["mse", "kl"]


@in_float32
def softmax_map(scores: Tensor) -> Tensor:
    """Return the softmax of scores (N, ...) over all positions, (N, P)."""
    return scores.flatten(1).softmax(1)


@in_float32
def pointed_map(query: Tensor, positions: Tensor, temperature: float) -> Tensor:
    """Return where query (N, D), of unit length, points among positions (N, P, D) of any length: (N, P)."""
    cosine = (normalize(positions, dim=2) @ query[:, :, None])[:, :, 0]
    return softmax_map(cosine / temperature)


@in_float32
def map_distance(own: Tensor, target: Tensor, kind: Distance = "mse") -> Tensor:
    """Return how far `own` is from the constant `target`, (N,); the gradient is that of `own` alone.

    "mse" is the squared difference of the maps scaled to length 1, summed over P, between 0 and 2; "kl" is
    KL(target, own).
    """
    target = target.detach()
    if kind == "mse":
        return (normalize(own, dim=1) - normalize(target, dim=1)).square().sum(1)
    return (target * (target.clamp(min=_FLOOR).log() - own.clamp(min=_FLOOR).log())).sum(1)


@in_float32
def relative_entropy(attention: Tensor) -> Tensor:
    """Return the entropy of maps (N, P) as a share of log P, (N,): 1 is uniform, 0 a single position."""
    entropy = -(attention * attention.clamp(min=_FLOOR).log()).sum(1)
    return entropy / math.log(max(attention.shape[1], 2))
