"""Binary noise-contrastive estimation: tell every true pair from every drawn one.

Gutmann & Hyvarinen 2010, as used by Wu et al. 2018 (arXiv 1805.01978), equations 5 to 7, with K noise rows drawn
uniformly from M and the normaliser Z of a row written as M times the mean of exp(s):

    loss_i = -log P(s+_i) - sum_k log(1 - P(s-_ik)),   P(s) = exp(s) / (exp(s) + K z),   z = Z / M

With several positives, -log P(s+) is their mean (AVID and CMA, arXiv 2004.12943).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from coview.objectives.precision import in_float32
from coview.parallel import sum_with_grad


@in_float32
def nce(positive: Tensor, negative: Tensor, z: float | Tensor) -> Tensor:
    """Return the loss of every anchor (N,) from s+ (N,) or (N, P), s- (N, K) and the mean normaliser z > 0."""
    shift = math.log(negative.shape[1]) + torch.as_tensor(z, dtype=negative.dtype, device=negative.device).log()
    true = logsigmoid(positive - shift)
    return -(true.mean(1) if true.ndim == 2 else true) - logsigmoid(shift - negative).sum(1)


@torch.no_grad()
def estimate_z(negative: Tensor) -> float:
    """Estimate z as the mean of exp(s-) over the scores (N_r, K) of all processes, in float64."""
    scores = negative.double()
    total = sum_with_grad(torch.stack([scores.exp().sum(), scores.new_tensor(float(scores.numel()))]))
    return float(total[0] / total[1])
