"""VGG-16 as a fully convolutional network, all of whose layers are kept: what hypercolumns are made of.

Simonyan & Zisserman, ICLR 2015 (arXiv 1409.1556), as Larsson, Maire & Shakhnarovich (ECCV 2016, arXiv 1603.06668) train
it from nothing: batch normalisation without scale and shift after every convolution, fc6 and fc7 as convolutions.
"""

from __future__ import annotations

from torch import Tensor, nn

from coview.encoders.base import Encoder

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class VGG16(Encoder):
    """13 convolutions of 3 x 3 and two of 7 x 7 and 1 x 1, on pictures (B, C, H, W).

    134 246 976 weights for one channel. Maxima over 2 x 2 between the blocks and before fc6, whose map has a 32nd of
    the picture's side. The mean of fc7.

    Args:
        channels: of the pictures.
        dropout: after fc6 and fc7.
    """

    dim = 4096
    stages = (
        *(f"conv{block}_{layer}" for block, (count, _) in enumerate(_BLOCKS, 1) for layer in range(1, count + 1)),
        "fc6",
        "fc7",
    )

    def __init__(self, channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        for block, (count, width) in enumerate(_BLOCKS, 1):
            for layer in range(1, count + 1):
                pooled = [nn.MaxPool2d(2, ceil_mode=True)] if layer == 1 and block > 1 else []
                self.add_module(f"conv{block}_{layer}", nn.Sequential(*pooled, *_layer(channels, width, 3)))
                channels = width
        first = [nn.MaxPool2d(2, ceil_mode=True), *_layer(channels, self.dim, 7), nn.Dropout(dropout)]
        self.fc6 = nn.Sequential(*first)
        self.fc7 = nn.Sequential(*_layer(self.dim, self.dim, 1), nn.Dropout(dropout))

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, H', W')."""
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))


def _layer(channels: int, width: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(width, affine=False), nn.ReLU(inplace=True)]
