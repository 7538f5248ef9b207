"""SigLIP: for every two rows of the global batch, do they belong together?

Zhai, Mustafa, Kolesnikov & Beyer 2023 (arXiv 2303.15343), equation 1. With s_ij = scale x_i . y_j + bias, and t_ij = 1
where the rows are partners, else -1,

    loss_i = -sum_j log sigmoid(t_ij s_ij),      d loss_i / d s_ij = sigmoid(s_ij) - (t_ij + 1) / 2.

Every pair is a question of its own: there is no softmax over a row, and both directions are in the one sum. Equal
scores of everything cost least at sigmoid(s) = 1 / N, which is log N + (N - 1) log(N / (N - 1)), near 1 + log N.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from coview.objectives.infonce import in_one_group
from coview.objectives.precision import in_float32
from coview.parallel import gather_with_grad, rank, row_counts


@in_float32
def sigmoid_pairs(x: Tensor, y: Tensor, scale: Tensor, bias: Tensor, groups: Tensor | None = None) -> Tensor:
    """Return the loss of every row of x (N_r,), at least 0, against the rows y of all processes, with gradient.

    Args:
        x, y: (N_r, D), row i of one belongs to row i of the other; L2-normalised for cosine scores.
        scale, bias: of the scores, scalars.
        groups: int64 (N_r,), as of `in_batch_scores`: rows of one group, not negative, are all partners.
    """
    start = sum(row_counts(x)[: rank()])
    own = torch.arange(start, start + x.shape[0], device=x.device)[:, None]
    scores = scale * (x @ gather_with_grad(y).T) + bias
    together = own == torch.arange(scores.shape[1], device=x.device) if groups is None else in_one_group(groups, own)
    return softplus(torch.where(together, -scores, scores)).sum(1)


@in_float32
def sigmoid_apart(x: Tensor, others: Tensor, scale: Tensor, bias: Tensor, apart: Tensor) -> Tensor:
    """Return the same loss (N,) of rows x (N, D) against `others` (M, D) where `apart` (N, M): no partners."""
    return torch.where(apart, softplus(scale * (x @ others.T) + bias), 0.0).sum(1)


def sigmoid_chance(rows: int) -> float:
    """Return the loss of a row of `rows` in all whose scores are all the same, with the best bias."""
    return math.log(rows) + (rows - 1) * math.log(rows / (rows - 1)) if rows > 1 else 0.0
