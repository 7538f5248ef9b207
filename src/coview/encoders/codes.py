"""Fixed maps of statistics, found once and never learnt: groups on one scale, and how near each centroid is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GroupScale(nn.Module):
    """Some first columns of a view (B, D), centred, every group of them scaled to a total variance of 1.

    Groups of columns then weigh the same in a distance, however many they are, while columns keep their share within
    a group. At first it changes nothing. Buffers `mean` and `scale` (dim,).

    Args:
        groups: how many columns each group has.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__()
        self.groups, self.dim = tuple(groups), sum(groups)
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("scale", torch.ones(self.dim))

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take mean and scale from rows x (N, D); a group that never varies is left at 0."""
        x = x[:, : self.dim].double()
        spread = torch.stack([part.sum() for part in torch.split(x.var(0, correction=0), list(self.groups))])
        each = torch.where(spread > 0, spread.clamp(min=1e-300).rsqrt(), 0.0)
        self.mean.copy_(x.mean(0))
        self.scale.copy_(each.repeat_interleave(torch.tensor(self.groups, device=each.device)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, dim) of x (B, D)."""
        return (x[:, : self.dim] - self.mean.to(x.dtype)) * self.scale.to(x.dtype)


class Centroids(nn.Module):
    """How near each of K centroids is to x (B, D): the negative squared distance, less its mean over the centroids.

    Buffers `centroids` (K, D), drawn at first, and `reach` (K,): how far a member may be.
    """

    centroids: Tensor
    reach: Tensor

    def __init__(self, centroids: Tensor) -> None:
        super().__init__()
        self.dim = len(centroids)
        self.register_buffer("centroids", centroids)
        self.register_buffer("reach", torch.full((self.dim,), 1e30))

    @torch.no_grad()
    def set(self, centroids: Tensor, reach: Tensor) -> None:
        """Take centroids (K, D) and how far their members may be, (K,)."""
        self.centroids.copy_(centroids)
        self.reach.copy_(reach)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) of x (B, D)."""
        near = -(x[:, None] - self.centroids.to(x.dtype)).square().sum(2)
        return near - near.mean(1, keepdim=True)
