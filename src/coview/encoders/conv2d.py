"""Conv2D audio network: nine convolutions over a spectrogram, as in AVID (arXiv 2004.12943) and AV-SSRL."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder

WIDTHS = (64, 128, 256, 512)
STRIDES = (2, 2, 2, 1)


def conv_norm_relu(channels: int, out: int, kernel: int, stride: int) -> list[nn.Module]:
    """Build convolution without bias, batch normalisation, ReLU."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]


class Conv2D(Encoder):
    """VGG-like network on spectrograms (B, 1, H, W), any H and W; global maximum pooling; 4 725 696 parameters."""

    dim = 512
    stages = ("conv1", "conv2x", "conv3x", "conv4x", "conv5x")

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*conv_norm_relu(1, 64, 7, 2))
        channels = 64
        for name, width, stride in zip(self.stages[1:], WIDTHS, STRIDES, strict=True):
            pair = [*conv_norm_relu(channels, width, 3, stride), *conv_norm_relu(width, width, 3, 1)]
            self.add_module(name, nn.Sequential(*pair))
            channels = width

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the five stages' maps (B, C, H', W')."""
        return self.through_stages(x.contiguous(memory_format=torch.channels_last))

    def pool(self, maps: Tensor) -> Tensor:
        """Take the global maximum."""
        return maps.amax((2, 3))
