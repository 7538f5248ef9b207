"""The VGG-like network of L3-Net: one design for a picture and for a spectrogram.

Arandjelovic & Zisserman, "Look, Listen and Learn", ICCV 2017 (arXiv 1705.08168), figure 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder

WIDTHS = (64, 128, 256, 512)


class VGG(Encoder):
    """Four blocks of two 3 x 3 convolutions, maxima over 2 x 2 between them, a global maximum at the end.

    For clips (B, 3, T, H, W), every frame by itself and the maximum over all (4 689 216 parameters), or for
    spectrograms (B, 1, H, W), normalised by their first layer (4 688 066 parameters). The maps are taken before the
    maxima: 224 pixels give 28 x 28, a spectrogram of 257 x 199 gives 32 x 24.

    Args:
        channels: of the input; one channel is a spectrogram.
    """

    dim = 512
    stages = ("block1", "block2", "block3", "block4")

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1) if channels == 1 else nn.Identity()
        for name, width in zip(self.stages, WIDTHS, strict=True):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if name != "block1" else []
            for wide in (channels, width):
                layers += [nn.Conv2d(wide, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            self.add_module(name, nn.Sequential(*layers))
            channels = width

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the blocks' maps, (B, C, T, H', W') of clips and (B, C, H', W') of spectrograms."""
        clips = x.shape[:3:2] if x.ndim == 5 else None  # (B, T)
        x = x.movedim(2, 1).flatten(0, 1) if clips else x
        x = self.norm(x)
        maps = {}
        for name in self.stages:
            x = self.get_submodule(name)(x)
            maps[name] = torch.unflatten(x, 0, clips).movedim(1, 2) if clips else x
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Take the global maximum."""
        return maps.amax(tuple(range(2, maps.ndim)))
