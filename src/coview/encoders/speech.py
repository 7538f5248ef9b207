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

    Recordings of different lengths are padded with frames that are 0 in every band: these take no part in the means and
    maxima, and all maps are 0 there. (A frame of sound is never exactly 0 in all bands.)

    Args:
        bands: of the spectrogram.
        width: channels of the first two convolutions; the last two have twice as many.
    """

    stages = ("conv1", "conv2", "conv3", "conv4")
    strides = (2, 1, 2, 1)

    def __init__(self, bands: int = 40, width: int = 64) -> None:
        super().__init__()
        self.dim = 4 * width
        channels = bands
        for name, out, stride in zip(self.stages, (width, width, 2 * width, 2 * width), self.strides, strict=True):
            layers = (nn.Conv1d(channels, out, 5, stride, 2), nn.GroupNorm(8, out), nn.GELU())
            self.add_module(name, nn.Sequential(*layers))
            channels = out

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, 1, T')."""
        x = x[:, 0]
        heard = _heard(x)
        x = (x - _mean(x, heard)) * heard
        maps = {}
        for name, stride in zip(self.stages, self.strides, strict=True):
            heard = heard[..., ::stride]
            x = self.get_submodule(name)(x) * heard
            maps[name] = x[:, :, None]
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Join the mean and the maximum."""
        x = maps[:, :, 0]
        heard = _heard(x)
        # A recording that is padding throughout has the features 0.
        top = x.masked_fill(~heard & heard.any(2, keepdim=True), -torch.inf).amax(2)
        return torch.cat([_mean(x, heard)[:, :, 0], top], 1)


def _heard(x: Tensor) -> Tensor:
    """Return which frames of x (B, C, T) are no padding, bool (B, 1, T)."""
    return (x != 0).any(1, keepdim=True)


def _mean(x: Tensor, heard: Tensor) -> Tensor:
    """Return the mean over the frames `heard` of x (B, C, T), which is 0 in the others; (B, C, 1)."""
    return x.sum(2, keepdim=True) / heard.sum(2, keepdim=True).clamp(min=1)
