"""Balanced soft assignments over all processes by Sinkhorn's iterations.

Codes of SwAV (Caron et al. 2020, arXiv 2006.09882, section 3.1): of all matrices whose samples share the prototypes
evenly, the one nearest to exp(scores / epsilon). One collective per iteration, however many problems are solved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather, sum_with_grad

NARROW = 0.025  # below this epsilon, cosines are outside of float32's range
RANGE = {torch.float32: 80.0, torch.float64: 600.0}  # (largest - smallest score) / epsilon that exp() holds


@torch.no_grad()
@in_float32
def sinkhorn(scores: Tensor, *, epsilon: float, iterations: int, marginal: Tensor | None = None) -> Tensor:
    """Return the codes (A, N_r, K) or (N_r, K) of this process's samples; each row sums to 1.

    Q = exp(scores / epsilon); then `iterations` times: each prototype's mass over all processes' samples is brought to
    N `marginal`, each sample's to 1. After 0 iterations Q sums to N over everything. A problem's largest score of all
    processes is taken off first, which changes nothing but the range. Where the scores of any process are too far apart
    for exp(), which cosines are not, all processes iterate on logarithms in float64 instead.

    Args:
        scores: such as cosines of samples and prototypes, finite: (A, N_r, K) for A problems solved side by side, or
            (N_r, K). N_r may differ between processes and be 0.
        epsilon: smoothness; 0.05 in SwAV, 0.03 in SEER.
        iterations: 3 in SwAV, 10 in SEER.
        marginal: (K,), the share of the mass of every prototype, of sum 1; None: all the same.
    """
    stacked = (scores if scores.ndim == 3 else scores[None]).to(torch.float64 if epsilon < NARROW else scores.dtype)
    problems, rows, prototypes = stacked.shape
    ends = stacked.new_full((2, problems), -torch.inf)
    if rows:
        ends = torch.stack([stacked.amax((1, 2)), -stacked.amin((1, 2))])
    everyone = gather(torch.cat([ends.flatten(), stacked.new_tensor([float(rows)])])[None])
    total = everyone[:, -1].sum()
    largest, smallest = everyone[:, :-1].amax(0).view(2, problems, 1, 1)
    goal = 1 / prototypes if marginal is None else marginal.to(stacked)
    # Asking would hold an accelerator up, and logarithms cost it little.
    plain = stacked.device.type == "cpu" and bool((largest + smallest <= RANGE[stacked.dtype] * epsilon).all())
    q = (_plain if plain else _logarithmic)(stacked, largest, total, goal, epsilon, iterations).to(scores.dtype)
    return q if scores.ndim == 3 else q[0]


def _plain(x: Tensor, largest: Tensor, total: Tensor, goal: Tensor | float, epsilon: float, iterations: int) -> Tensor:
    q = (x - largest).div_(epsilon).exp_()
    if iterations == 0:
        q.div_(sum_with_grad(q.sum((1, 2), keepdim=True))).mul_(total)
    for _ in range(iterations):
        q.mul_(goal / sum_with_grad(q.sum(1, keepdim=True)))
        q.div_(q.sum(2, keepdim=True))
    return q


def _logarithmic(
    x: Tensor, largest: Tensor, total: Tensor, goal: Tensor | float, epsilon: float, iterations: int
) -> Tensor:
    log_q = (x.double() if x.device.type == "cpu" else x).sub(largest).div_(epsilon)
    if iterations == 0:
        return (log_q - gather(log_q.logsumexp((1, 2), keepdim=True)[None]).logsumexp(0)).exp_().mul_(total)
    for _ in range(iterations):
        log_q.add_(torch.as_tensor(goal).log() - gather(log_q.logsumexp(1, keepdim=True)[None]).logsumexp(0))
        log_q.sub_(log_q.logsumexp(2, keepdim=True))
    return log_q.exp_()
