"""InfoNCE: pick out one's own partner among others.

van den Oord et al. 2018 (arXiv 1807.03748), equation 4, with scores s = x . y / temperature:

    loss_i = -log( exp(s+_i) / (exp(s+_i) + sum_k exp(s-_ik)) ) = total_i - s+_i

`total` is the log of the denominator. The functions here yield (s+, total), from which `infonce` and `rince` follow.

Several positives P(i) of an anchor: the mean of the losses of each, L_out of Khosla et al. 2020 (arXiv 2004.11362,
equation 2). The denominator being the same for all,

    loss_i = mean_{p in P(i)} (total_i - s_ip) = total_i - mean_{p in P(i)} s_ip,
    d loss_i / d s_ij = softmax_ij - t_ij,   t_ij = 1 / |P(i)| for a positive, else 0.

So s+ becomes the mean score, and every positive is pulled at alike, where the logarithm of their summed probability
(L_in) pulls at the nearest and lets go of the others. The least loss is log |P(i)|: all positives at one score, far
above the rest. Equal scores of everything give log N as ever.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather, gather_with_grad, joined, rank, row_counts


@in_float32
def log_total(positive: Tensor, negative: Tensor) -> Tensor:
    """Return log(exp(s+) + sum_k exp(s-_k)), shape (N,), from scores s+ (N,) and s- (N, K)."""
    return torch.logaddexp(positive, negative.logsumexp(1))


@in_float32
def infonce(positive: Tensor, total: Tensor) -> Tensor:
    """Return the loss of every anchor (N,), at least 0, from s+ (N,) and `total` (N,)."""
    return total - positive


@in_float32
def in_batch_scores(
    x: Tensor, y: Tensor, temperature: float | Tensor, groups: Tensor | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Score pairs against all others of the global batch; returns (s+, total), each (N_r,), for x to y and y to x.

    Args:
        x, y: (N_r, D), row i of one belongs to row i of the other; L2-normalised for cosine scores. Anchors are this
            process's rows, candidates those of all processes, with gradient.
        temperature: divides the scores.
        groups: int64 (N_r,); rows of one group, on whatever process, are positives of each other, and s+ is the mean
            of their scores. A row of a negative group, or without `groups`, has its own partner alone.
    """
    start = sum(row_counts(x)[: rank()])
    candidates = gather_with_grad(torch.cat([x, y], 1))
    own = torch.arange(start, start + x.shape[0], device=x.device)[:, None]
    all_x, all_y = candidates[:, : x.shape[1]], candidates[:, x.shape[1] :]
    alike = None if groups is None else in_one_group(groups, own)
    forth = x / temperature @ all_y.T
    back = y / temperature @ all_x.T if joined() else forth.T  # alone both directions have the same scores
    directions = []
    for scores in (forth, back):
        positive = scores.gather(1, own)[:, 0] if alike is None else (scores * alike).sum(1) / alike.sum(1)
        directions.append((positive, scores.logsumexp(1)))
    return directions


@in_float32
def with_remembered(total: Tensor, x: Tensor, memory: Tensor, temperature: float | Tensor, apart: Tensor) -> Tensor:
    """Return `total` (N,) with the scores of x (N, D) with a memory's rows (Q, D) in the denominator.

    A queue of what came before, He et al. 2020 (arXiv 1911.05722), without a slow network: Wang et al. 2020 (arXiv
    1912.06798).

    Args:
        apart: bool (N, Q), which rows are negatives of which; the others do not count.
    """
    scores = x @ memory.T / temperature
    nothing = torch.finfo(scores.dtype).min / 2  # not -inf: a row without any negative would have no gradient
    return torch.logaddexp(total, scores.masked_fill(~apart, nothing).logsumexp(1))


def in_one_group(groups: Tensor, own: Tensor) -> Tensor:
    """Return which rows of the global batch are positives of this process's rows, themselves among them, bool (N_r, N).

    Args:
        groups: int64 (N_r,), see `in_batch_scores`.
        own: int64 (N_r, 1), the places of this process's rows in the global batch.
    """
    everyone = gather(groups)
    alike = (groups[:, None] == everyone) & (groups >= 0)[:, None]
    return alike | (own == torch.arange(len(everyone), device=groups.device))
