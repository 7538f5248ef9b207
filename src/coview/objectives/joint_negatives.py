"""InfoNCE with negatives from both views: the other view's and the own view's.

As in CMAC (Min et al. 2021, arXiv 2106.06939), reconstructed from its abstract. For unit vectors x_i, y_i of pair i:

    loss_i = -log( e^{x_i y_i / T} / ( e^{x_i y_i / T} + sum_j e^{x_i y_j / T} + sum_j e^{x_i x_j / T} ) )

over the pairs j of other recordings; and the same with x and y exchanged. Without the last sum it is InfoNCE.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather, gather_with_grad, rank, row_counts


@in_float32
def joint_scores(
    x: Tensor, y: Tensor, row: Tensor, temperature: float, within: bool = True
) -> list[tuple[Tensor, Tensor]]:
    """Return (s+, log of the denominator), each (N_r,), for x to y and y to x; see `coview.objectives.infonce`.

    Args:
        x, y: (N_r, D), of unit length. Anchors are this process's, candidates those of all, with gradient.
        row: int64 (N_r,), the recordings; another clip of the anchor's own is no candidate.
        temperature: divides the scores.
        within: whether the own view gives negatives too.
    """
    start = sum(row_counts(x)[: rank()])
    candidates = gather_with_grad(torch.cat([x, y], 1))
    all_x, all_y = candidates[:, : x.shape[1]], candidates[:, x.shape[1] :]
    own = start + torch.arange(len(x), device=x.device)
    same = row[:, None] == gather(row)
    partner = torch.arange(len(candidates), device=x.device) == own[:, None]
    directions = []
    for anchor, other, alike in ((x, all_y, all_x), (y, all_x, all_y)):
        scores = anchor @ other.T / temperature
        positive = scores.gather(1, own[:, None])[:, 0]
        scores = scores.masked_fill(same & ~partner, -torch.inf)
        if within:
            scores = torch.cat([scores, (anchor @ alike.T / temperature).masked_fill(same, -torch.inf)], 1)
        directions.append((positive, scores.logsumexp(1)))
    return directions
