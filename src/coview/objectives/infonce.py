"""InfoNCE: pick out one's own partner among others.

van den Oord et al. 2018 (arXiv 1807.03748), equation 4, with scores s = x . y / temperature:

    loss_i = -log( exp(s+_i) / (exp(s+_i) + sum_k exp(s-_ik)) ) = total_i - s+_i

`total` is the log of the denominator. The functions here yield (s+, total), from which `infonce` and `rince` follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather_with_grad, rank, row_counts


@in_float32
def log_total(positive: Tensor, negative: Tensor) -> Tensor:
    """Return log(exp(s+) + sum_k exp(s-_k)), shape (N,), from scores s+ (N,) and s- (N, K)."""
    return torch.logaddexp(positive, negative.logsumexp(1))


@in_float32
def infonce(positive: Tensor, total: Tensor) -> Tensor:
    """Return the loss of every anchor (N,), at least 0, from s+ (N,) and `total` (N,)."""
    return total - positive


@in_float32
def in_batch_scores(x: Tensor, y: Tensor, temperature: float) -> list[tuple[Tensor, Tensor]]:
    """Score pairs against all others of the global batch; returns (s+, total), each (N_r,), for x to y and y to x.

    Args:
        x, y: (N_r, D), row i of one belongs to row i of the other; L2-normalised for cosine scores. Anchors are this
            process's rows, candidates those of all processes, with gradient.
        temperature: divides the scores.
    """
    start = sum(row_counts(x)[: rank()])
    candidates = gather_with_grad(torch.cat([x, y], 1))
    own = torch.arange(start, start + x.shape[0], device=x.device)[:, None]
    all_x, all_y = candidates[:, : x.shape[1]], candidates[:, x.shape[1] :]
    directions = []
    for anchors, others in ((x, all_y), (y, all_x)):
        scores = anchors @ others.T / temperature
        directions.append((scores.gather(1, own)[:, 0], scores.logsumexp(1)))
    return directions
