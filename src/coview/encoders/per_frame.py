"""A network of pictures on every frame of a clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder


class PerFrame(Encoder):
    """Clips (B, C, T, H, W) through a network of pictures, frame by frame; features are the mean over the frames."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network, self.dim, self.stages = network, network.dim, network.stages

    def each(self, clips: Tensor) -> Tensor:
        """Return the features of every frame (B, T, dim)."""
        features: Tensor = self.network(clips.transpose(1, 2).flatten(0, 1))
        return torch.unflatten(features, 0, (clips.shape[0], clips.shape[2]))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the network's maps (B, C, T, ...)."""
        maps = self.network.feature_maps(x.transpose(1, 2).flatten(0, 1))
        shape = x.shape[0], x.shape[2]
        return {name: torch.unflatten(each, 0, shape).transpose(1, 2) for name, each in maps.items()}

    def pool(self, maps: Tensor) -> Tensor:
        """Pool every frame as the network does, then take the mean over the frames."""
        pooled = self.network.pool(maps.transpose(1, 2).flatten(0, 1))
        return torch.unflatten(pooled, 0, (maps.shape[0], maps.shape[2])).mean(1)

    def blocks(self) -> list[nn.Module]:
        """Return the network's."""
        return self.network.blocks()
