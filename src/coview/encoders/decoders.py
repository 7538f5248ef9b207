"""Networks from features back to a view: pictures and spectrograms by up-convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_WIDEST, _LEAST = 256, 4  # channels of the first map, and its shorter side


class Doubled(nn.Module):
    """Maps with every place four times; unlike torch's own, of no samples too."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, 2H, 2W) of maps (B, C, H, W)."""
        return x.repeat_interleave(2, -2).repeat_interleave(2, -1)


class PlaneDecoder(nn.Module):
    """Features to planes: a linear layer to a small map, then doublings, each with a 3 x 3 convolution.

    What the doublings make too much is cut off at the lower right. Nothing of the encoder's earlier maps comes in, so
    that all of the view has to pass through its features.

    Args:
        dim: of the features.
        shape: of the view: (C, H, W), or (C, T, H, W), whose frames are made as channels.
    """

    def __init__(self, dim: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        *channels, height, width = self.shape
        doublings = max(0, math.floor(math.log2(min(height, width) / _LEAST)))
        self.start = (_WIDEST, -(-height // 2**doublings), -(-width // 2**doublings))
        self.unfold = nn.Linear(dim, math.prod(self.start))
        layers: list[nn.Module] = []
        wide = _WIDEST
        for _ in range(doublings):
            narrow = max(wide // 2, 16)
            layers += [Doubled(), nn.Conv2d(wide, narrow, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(narrow), nn.ReLU()]
            wide = narrow
        self.layers = nn.Sequential(*layers, nn.Conv2d(wide, math.prod(channels), 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        """Return a view (B, *shape) of features (B, dim)."""
        maps: Tensor = self.layers(torch.relu(self.unfold(z)).reshape(len(z), *self.start))
        height, width = self.shape[-2:]
        return maps[..., :height, :width].reshape(len(z), *self.shape)
