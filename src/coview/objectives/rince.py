"""RINCE: InfoNCE made robust against pairs that do not belong together.

Chuang et al. 2022 (arXiv 2201.04309), equation 5, with `total` = log(exp(s+) + sum_k exp(s-_k)):

    loss_i = -exp(q s+_i) / q + (lambda exp(total_i))^q / q
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coview.objectives.infonce import infonce
from coview.objectives.precision import in_float32


@in_float32
def rince(positive: Tensor, total: Tensor, q: float, density: float, as_released: bool = False) -> Tensor:
    """Return the loss of every anchor (N,) from s+ (N,) and `total` (N,).

    Both terms grow as 1/q, so they are formed as expm1(q x) / q, where the 1/q cancels before rounding. Where q x is
    above 80 (700 in float64) exp is no number of the type soon: it goes on as its tangent there, which keeps the order
    of losses and the signs of gradients.

    Args:
        positive: scores s+.
        total: see `coview.objectives.infonce.log_total`.
        q: from 0 to 1. 0 is InfoNCE exactly. The limit q -> 0 of the formula is InfoNCE + log(density): the same
            gradient, a shifted value that may be negative. 1 ignores how sure the model is of a pair.
        density: the paper's lambda, above 0; the smaller, the more the positive weighs.
        as_released: plain powers as in AV-SSRL's code, which lose four digits in float32 at q = 0.001.
    """
    if q == 0:
        return infonce(positive, total)
    if as_released:
        return (density * total.exp()) ** q / q - positive.exp() ** q / q
    return (_expm1(q * (total + math.log(density))) - _expm1(q * positive)) / q


def _expm1(x: Tensor) -> Tensor:
    limit = 700.0 if x.dtype == torch.float64 else 80.0
    inside = torch.where(x > limit, limit, x).expm1()
    return torch.where(x > limit, inside + math.exp(limit) * (x - limit), inside)
