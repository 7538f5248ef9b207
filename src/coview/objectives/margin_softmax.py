"""Masked margin softmax: InfoNCE of raw products, in both directions, with a margin on the true pair.

Ilharco, Zhang & Baldridge 2019 (arXiv 1910.00393), as used by AVLnet and MCN (arXiv 2104.12671). For S = x y' of n
pairs and S' = S - margin I, the sum, not the mean, of two directions:

    loss_i = -log softmax(row i of S')_i - log softmax(column i of S')_i
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather_with_grad, rank, row_counts


@in_float32
def margin_softmax(x: Tensor, y: Tensor, margin: float) -> Tensor:
    """Return the loss (N_r,) of pairs x, y (N_r, D), of any length; candidates are those of all processes."""
    start = sum(row_counts(x)[: rank()])
    candidates = gather_with_grad(torch.cat([x, y], 1))
    own = (start + torch.arange(len(x), device=x.device))[:, None]
    loss = x.new_zeros(len(x))
    for anchors, others in ((x, candidates[:, x.shape[1] :]), (y, candidates[:, : x.shape[1]])):
        scores = anchors @ others.T
        scores = scores.scatter_add(1, own, torch.full_like(scores[:, :1], -margin))
        loss = loss - scores.log_softmax(1).gather(1, own)[:, 0]
    return loss
