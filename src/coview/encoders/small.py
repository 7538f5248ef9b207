"""Small networks that learn on one CPU thread: `tiny` for the digits world, `small` for the objects world.

All end in 128 features: the mean of the last map plus half its maximum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.encoders.conv2d import conv_norm_relu
from coview.encoders.factored import (
    channels_first,
    channels_last,
    norm_relu,
    over_space,
    over_time,
    space_conv,
    time_conv,
)


class SmallVideo(Encoder):
    """Alternating convolutions in space and time on clips (B, 3, T, H, W).

    Args:
        layers: (kind "space" or "time", output channels, kernel, stride) of each stage; a time kernel has 3 taps.
        difference: add a fourth input channel, the change of brightness since the frame before (0 for the first).
    """

    dim = 128

    def __init__(self, layers: tuple[tuple[str, int, int, int], ...], difference: bool = False) -> None:
        super().__init__()
        self.difference = difference
        self.stages = tuple(f"conv{number}" for number in range(1, len(layers) + 1))
        self.kinds = tuple(layer[0] for layer in layers)
        channels = 4 if difference else 3
        for name, (kind, out, kernel, stride) in zip(self.stages, layers, strict=True):
            space = kind == "space"
            conv = space_conv(channels, out, kernel, stride) if space else time_conv(channels, out, stride)
            self.add_module(name, norm_relu(conv))
            channels = out

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, T', H', W')."""
        x = channels_last(x)
        if self.difference:
            grey = x.mean(-1, keepdim=True)
            x = torch.cat([x, torch.cat([torch.zeros_like(grey[:, :1]), grey[:, 1:] - grey[:, :-1]], 1)], -1)
        maps = {}
        for name, kind in zip(self.stages, self.kinds, strict=True):
            layer = self.get_submodule(name)
            x = over_space(layer, x) if kind == "space" else over_time(layer, x)
            maps[name] = channels_first(x)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Add half the maximum to the mean."""
        return maps.mean((2, 3, 4)) + 0.5 * maps.amax((2, 3, 4))


class SmallPlane(Encoder):
    """Four 3 x 3 convolutions, 16-32-64-128, on spectrograms (B, 1, H, W) or pictures (B, 3, H, W)."""

    dim = 128
    stages = ("conv1", "conv2", "conv3", "conv4")

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name, width, stride in zip(self.stages, (16, 32, 64, 128), (2, 2, 2, 1), strict=True):
            self.add_module(name, nn.Sequential(*conv_norm_relu(channels, width, 3, stride)))
            channels = width

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, H', W')."""
        return self.through_stages(x.contiguous(memory_format=torch.channels_last))

    def pool(self, maps: Tensor) -> Tensor:
        """Add half the maximum to the mean."""
        return maps.mean((2, 3)) + 0.5 * maps.amax((2, 3))


TINY = (("space", 16, 5, 2), ("space", 32, 3, 2), ("space", 64, 3, 1), ("time", 64, 3, 2), ("space", 128, 3, 2))
SMALL = (
    ("space", 16, 7, 4),
    ("time", 16, 3, 1),
    ("space", 32, 3, 2),
    ("time", 32, 3, 2),
    ("space", 64, 3, 1),
    ("time", 64, 3, 2),
    ("space", 128, 3, 1),
)
