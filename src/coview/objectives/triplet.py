"""Triplets across two views: an anchor is nearer to its class in the other view than to any other class.

Zeng, Yu & Oyama, Deep Triplet Neural Networks with Cluster-CCA (TOMM 2020, arXiv 1908.03737). Distances are
1 - cosine; the hardest positive and the hardest negative of each anchor (Hermans et al., arXiv 1703.07737):

    loss_i = max(0, margin + max_{j in class} d(x_i, y_j) - min_{j not in class} d(x_i, y_j))
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32
from coview.parallel import gather, gather_with_grad


@in_float32
def hardest_triplets(x: Tensor, y: Tensor, label: Tensor, margin: float) -> Tensor:
    """Return the loss of every anchor x (N_r,) against y of all processes; 0 where the batch holds one class only.

    Args:
        x, y: (N_r, D), not zero; row i of one belongs to row i of the other.
        label: int64 (N_r,).
    """
    distance = 1 - normalize(x, dim=1) @ gather_with_grad(normalize(y, dim=1)).T
    same = label[:, None] == gather(label)[None]
    furthest = distance.masked_fill(~same, -torch.inf).amax(1)
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    return torch.relu(margin + furthest - nearest)
