"""Reduced R(2+1)D video network: convolutions in space, then in time, without widened middle channels.

Source: Tran et al. 2018 (arXiv 1711.11248), in the reduced form of AVID (arXiv 2004.12943) and AV-SSRL: fixed widths
64-128-256-512, residuals without normalisation of their own, BatchNorm and ReLU after the sum, global maximum pooling.
"""

from __future__ import annotations

from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.encoders.factored import (
    channels_first,
    channels_last,
    norm_relu,
    over_space,
    over_time,
    space_conv,
    time_conv,
)

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)


class Block(nn.Module):
    """Two pairs of space and time convolutions with a residual; (B, T, H, W, C) in and out."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.space1 = norm_relu(space_conv(channels, out, 3, stride))
        self.time1 = norm_relu(time_conv(out, out, stride))
        self.space2 = norm_relu(space_conv(out, out, 3))
        self.time2 = time_conv(out, out)
        self.norm = nn.Sequential(nn.BatchNorm2d(out), nn.ReLU(inplace=True))
        plain = stride == 1 and channels == out
        self.shortcut = nn.Identity() if plain else nn.Linear(channels, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output (B, T / stride, H / stride, W / stride, out)."""
        y = over_time(self.time1, over_space(self.space1, x))
        y = over_time(self.time2, over_space(self.space2, y))
        step = self.stride
        return over_space(self.norm, y + self.shortcut(x[:, ::step, ::step, ::step]))


class R2Plus1D(Encoder):
    """Reduced R(2+1)D of depth 10, 18 or 34 on clips (B, 3, T, H, W); 7 015 616, 15 379 136, 28 861 632 parameters."""

    dim = 512
    stages = ("conv1", "conv2x", "conv3x", "conv4x", "conv5x")

    def __init__(self, depth: int = 18) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.norm1 = nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        channels = 64
        for name, blocks, width in zip(self.stages[1:], BLOCKS[depth], WIDTHS, strict=True):
            stride = 1 if name == "conv2x" else 2
            first = Block(channels, width, stride)
            self.add_module(name, nn.Sequential(first, *(Block(width, width, 1) for _ in range(blocks - 1))))
            channels = width

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the five stages' maps (B, C, T', H', W'); conv1 after its maximum pooling."""
        # The permuted view of a contiguous (B, T, H, W, C) tensor is what torch calls channels_last_3d.
        x = over_space(self.norm1, self.conv1(channels_first(channels_last(x))).permute(0, 2, 3, 4, 1))
        maps = {"conv1": channels_first(x)}
        for name in self.stages[1:]:
            x = self.get_submodule(name)(x)
            maps[name] = channels_first(x)
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Take the global maximum."""
        return maps.amax((2, 3, 4))
