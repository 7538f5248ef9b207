"""t-SNE: a map in the plane on which near neighbours stay near.

van der Maaten & Hinton, "Visualizing Data using t-SNE", JMLR 2008, exactly, without a tree: for some hundreds of points
that is the fastest way, and it needs no further library to be imported.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_EXAGGERATION = 12.0  # of attractions, at first
_EXAGGERATED, _STEPS = 150, 500  # steps with it; all steps
_SEARCHES = 50  # halvings of the interval in which a point's precision lies


def tsne(x: Tensor, perplexity: float = 30.0) -> Tensor:
    """Return float32 points (N, 2) for x (N, D), the same for the same x: it starts from the principal components.

    Args:
        perplexity: effective number of neighbours, below N.
    """
    x = x.double()
    n = len(x)
    together = conditional(torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square(), perplexity)
    together = (together + together.T).clamp(min=1e-12) / (2 * n)
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    y = torch.zeros(n, 2, dtype=x.dtype)
    y[:, : s[:2].numel()] = u[:, :2] * s[:2]
    y = y / y[:, 0].std().clamp(min=1e-12) * 1e-4
    velocity, gains = torch.zeros_like(y), torch.ones_like(y)
    rate = max(n / _EXAGGERATION, 10.0)  # Belkina et al., Nature Communications 2019
    for step in range(_STEPS):
        gradient = gradient_of(y, together * (_EXAGGERATION if step < _EXAGGERATED else 1.0))
        same = gradient.sign() == velocity.sign()
        gains = torch.where(same, gains * 0.8, gains + 0.2).clamp(min=0.01)
        velocity = (0.5 if step < _EXAGGERATED else 0.8) * velocity - rate * gains * gradient
        y = y + velocity
    return (y - y.mean(0)).float()


def gradient_of(y: Tensor, together: Tensor) -> Tensor:
    """Return the gradient (N, 2) of KL(P || Q) at the points y (N, 2): equation 5 of the paper."""
    near = 1 / (1 + torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist").square())
    near.fill_diagonal_(0)
    force = (together - near / near.sum()) * near
    return 4 * (force.sum(1, keepdim=True) * y - force @ y)


def conditional(squared: Tensor, perplexity: float) -> Tensor:
    """Return p(j | i) (N, N) of squared distances (N, N): normal kernels whose rows have this perplexity."""
    n = len(squared)
    low, high = torch.zeros(n, 1, dtype=squared.dtype), torch.full((n, 1), math.inf, dtype=squared.dtype)
    precision = torch.ones(n, 1, dtype=squared.dtype)
    own = torch.eye(n, dtype=torch.bool)
    for _ in range(_SEARCHES):
        p = (-squared * precision).masked_fill(own, -math.inf).softmax(1)
        wide = torch.special.entr(p).sum(1, keepdim=True) > math.log(perplexity)
        low, high = torch.where(wide, precision, low), torch.where(wide, high, precision)
        precision = torch.where(high.isinf(), precision * 2, (low + high) / 2)
    return p
