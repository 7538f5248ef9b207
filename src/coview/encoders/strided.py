"""Convolutions of 4 x 4 and stride 2 that halve a picture down to 4 x 4 places: an encoder, and a critic of pictures.

Radford, Metz & Chintala, ICLR 2016 (arXiv 1511.06434), as Pathak et al., CVPR 2016 (arXiv 1604.07379) use them: leaky
ReLU of .2, batch normalisation after all but the first, weights drawn with deviation .02, no biases.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder

_LEAST = 4  # side of the last map of a critic
_DEVIATION = 0.02


def halving(channels: int, width: int, first: bool) -> nn.Sequential:
    """Return one layer, which halves the sides of maps; the first one has no normalisation."""
    conv = nn.Conv2d(channels, width, 4, 2, 1, bias=False)
    nn.init.normal_(conv.weight, std=_DEVIATION)
    if first:
        return nn.Sequential(conv, nn.LeakyReLU(0.2))
    norm = nn.BatchNorm2d(width)
    nn.init.normal_(norm.weight, 1.0, _DEVIATION)
    return nn.Sequential(conv, norm, nn.LeakyReLU(0.2))


class Strided(Encoder):
    """Five layers of 64, 64, 128, 256 and 512 channels on pictures (B, C, H, W).

    2 823 040 parameters for three colours. 128 pixels give maps (512, 4, 4), whose mean is 512 features.
    """

    dim = 512
    stages = ("conv1", "conv2", "conv3", "conv4", "conv5")

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        for name, width in zip(self.stages, (64, 64, 128, 256, self.dim), strict=True):
            self.add_module(name, halving(channels, width, first=name == self.stages[0]))
            channels = width

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the five layers' maps (B, C, H', W')."""
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean."""
        return maps.mean((2, 3))


class Critic(nn.Module):
    """One logit of a picture: real, or made?

    Args:
        shape: (C, H, W) of the pictures.
        width: channels of the first layer; each layer doubles them, to eight times as many at most.
    """

    def __init__(self, shape: Sequence[int], width: int = 64) -> None:
        super().__init__()
        channels, *sides = shape
        layers: list[nn.Module] = []
        while min(sides) > _LEAST:
            wide = width * 2 ** min(len(layers), 3)
            layers.append(halving(channels, wide, first=not layers))
            channels, sides = wide, [side // 2 for side in sides]
        last = nn.Linear(channels * sides[0] * sides[1], 1, bias=False)
        nn.init.normal_(last.weight, std=_DEVIATION)
        self.layers = nn.Sequential(*layers, nn.Flatten(), last)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B,) of pictures (B, C, H, W); above 0 where they are taken for real."""
        logits: Tensor = self.layers(x)
        return torch.squeeze(logits, 1)
