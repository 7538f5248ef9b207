"""Balanced soft assignments over all processes by Sinkhorn's iterations.

Codes of SwAV (Caron et al. 2020, arXiv 2006.09882, section 3.1): of all matrices whose samples share the prototypes
evenly, the one nearest to exp(scores / epsilon). One collective per iteration, however many problems are solved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather, sum_with_grad

NARROW = 0.025  # below this epsilon, exp(-2 / epsilon) is outside float32's range


@torch.no_grad()
@in_float32
def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int, marginal: Tensor | None = None) -> Tensor:
    """Return the codes (A, N_r, K) or (N_r, K) of this process's samples; each row sums to 1.

    Q = exp(scores / epsilon); then `iterations` times: each prototype's mass over all processes' samples is brought to
    N `marginal`, each sample's to 1. After 0 iterations Q sums to N over everything. A problem's largest score of all
    processes is taken off first, which changes nothing but the range; a prototype that nothing reaches stays empty.
    Float32 holds epsilon >= 0.025; a smaller one is computed in float64.

    Args:
        scores: cosines of samples and prototypes, (A, N_r, K) for A problems solved side by side, or (N_r, K). N_r may
            differ between processes and be 0.
        epsilon: smoothness; 0.05 in SwAV, 0.03 in SEER.
        iterations: 3 in SwAV, 10 in SEER.
        marginal: (K,), the share of the mass of every prototype, of sum 1; None: all the same.
    """
    stacked = (scores if scores.ndim == 3 else scores[None]).to(torch.float64 if epsilon < NARROW else scores.dtype)
    problems, rows, prototypes = stacked.shape
    largest = stacked.flatten(1).max(1).values if rows else stacked.new_full((problems,), -torch.inf)
    everyone = gather(torch.cat([largest, stacked.new_tensor([float(rows)])])[None])
    total = everyone[:, -1].sum()
    q = torch.exp((stacked - everyone[:, :-1].max(0).values[:, None, None]) / epsilon)
    tiny = torch.finfo(q.dtype).tiny
    goal = 1 / prototypes if marginal is None else marginal.to(q)
    if iterations == 0:
        q = q / sum_with_grad(q.sum((1, 2), keepdim=True)) * total
    for _ in range(iterations):
        mass = sum_with_grad(q.sum(1, keepdim=True))
        q = q * (goal / mass.clamp(min=tiny))
        q = q / q.sum(2, keepdim=True).clamp(min=tiny)
    q = q.to(scores.dtype)
    return q if scores.ndim == 3 else q[0]
