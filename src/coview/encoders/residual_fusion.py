"""Several views' vectors to one, by a residual perceptron, and a head that says which group a vector belongs to.

Ke et al., "Clustering-guided contrastive fusion for multi-view representation learning" (arXiv 2212.13726).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softmax

from coview.encoders.heads import Head
from coview.objectives.precision import in_float32


class FusionBlock(nn.Module):
    """x + W2 relu(W1 norm(x)) through twice the width, then the same through half of it; (B, dim) in and out."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.wide, self.back = nn.BatchNorm1d(dim), _linear(dim, 2 * dim), _linear(2 * dim, dim)
        self.norm2, self.narrow, self.forth = nn.BatchNorm1d(dim), _linear(dim, dim // 2), _linear(dim // 2, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        x = x + self.back(relu(self.wide(self.norm1(x))))
        output: Tensor = x + self.forth(relu(self.narrow(self.norm2(x))))
        return output


class ResidualFusion(nn.Module):
    """The vectors of V views beside each other, narrowed to `dim`, then `blocks` times a `FusionBlock`, normalised.

    Args:
        views: V.
        dim: length of each view's vector and of the output, at least 2.
        blocks: of them.
    """

    def __init__(self, views: int, dim: int, blocks: int = 2) -> None:
        super().__init__()
        self.dim = dim
        self.join = nn.Sequential(_linear(views * dim, dim), nn.BatchNorm1d(dim), nn.ReLU())
        self.blocks = nn.Sequential(*(FusionBlock(dim) for _ in range(blocks)))
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Return (B, dim) of the views' vectors, each (B, dim)."""
        fused: Tensor = self.norm(self.blocks(self.join(torch.cat(list(views), 1))))
        return fused


class GroupHead(nn.Module):
    """A hidden layer, and how much a vector (B, dim) belongs to each of `groups`."""

    def __init__(self, dim: int, hidden: int, groups: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.BatchNorm1d(hidden))
        self.groups = nn.Linear(hidden, groups)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden numbers (B, hidden) and shares (B, groups), which sum to 1."""
        hidden = self.hidden(x)
        return hidden, in_float32(softmax)(self.groups(hidden), 1)


def normalised_perceptron(sizes: Sequence[int]) -> Head:
    """Build linear layers without biases through `sizes`, each batch-normalised, with ReLU between them.

    The projector of SimSiam (Chen & He, arXiv 2011.10566) has three; the last normalisation is learnt here.
    """
    layers: list[nn.Module] = []
    for wide, out in pairwise(sizes):
        layers += [_linear(wide, out), nn.BatchNorm1d(out), nn.ReLU()]
    return Head(sizes[-1], *layers[:-1])


def _linear(wide: int, out: int) -> nn.Linear:
    return nn.Linear(wide, out, bias=False)
