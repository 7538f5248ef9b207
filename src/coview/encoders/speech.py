"""A small network for speech: convolutions over time alone, the bands of a spectrogram as channels.

Words differ by the order of their sounds, and hardly by where a sound lies on the frequency axis: a kernel that sees
all bands at once learns from far fewer recordings than one that slides over them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder


class SpeechAudio(Encoder):
    """Four convolutions of five frames on log-mel spectrograms (B, 1, bands, T); ends in mean and maximum over time.

    Each band's mean over the clip is taken off first, which removes the level and part of the voice's colour. Group
    normalisation makes an example's features independent of the batch.

    Args:
        bands: of the spectrogram.
        width: channels of the first two convolutions; the last two have twice as many.
    """

    stages = ("conv1", "conv2", "conv3", "conv4")

    def __init__(self, bands: int = 40, width: int = 64) -> None:
        super().__init__()
        self.dim = 4 * width
        channels = bands
        for name, out, stride in zip(self.stages, (width, width, 2 * width, 2 * width), (2, 1, 2, 1), strict=True):
            layers = (nn.Conv1d(channels, out, 5, stride, 2), nn.GroupNorm(8, out), nn.GELU())
            self.add_module(name, nn.Sequential(*layers))
            channels = out

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, 1, T')."""
        x = x[:, 0]
        x = x - x.mean(-1, keepdim=True)
        maps = {}
        for name in self.stages:
            x = self.get_submodule(name)(x)
            maps[name] = x[:, :, None]
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Join the mean and the maximum."""
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
