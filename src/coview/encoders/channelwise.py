"""The channel-wise fully connected layer: every place of a map reaches every other, channels stay apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class ChannelwiseLinear(nn.Module):
    """A linear layer over the places of each channel: C n m weights instead of C^2 n m.

    Pathak et al., CVPR 2016 (arXiv 1604.07379), section 3.1. `weight` (C, n, m) and `bias` (C, m), n = H W places in
    raster order, m places out.

    Args:
        channels: C.
        places: H and W of the maps.
        out: H and W of the maps that come out; None: the same.
    """

    def __init__(self, channels: int, places: tuple[int, int], out: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.out = out or places
        wide, narrow = math.prod(places), math.prod(self.out)
        self.weight = nn.Parameter(torch.empty(channels, wide, narrow).normal_(std=wide**-0.5))
        self.bias = nn.Parameter(torch.zeros(channels, narrow))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, *out) of maps (B, C, H, W)."""
        mixed = torch.einsum("bci,cio->bco", x.flatten(2), self.weight) + self.bias
        return mixed.reshape(*mixed.shape[:2], *self.out)
