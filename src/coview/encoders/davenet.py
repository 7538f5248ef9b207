"""DAVEnet, a residual network along the time of a log-mel spectrogram, and what else MCN puts in front of its space.

Harwath et al., ICLR 2020 (arXiv 1911.09602), as used by AVLnet and MCN (arXiv 2104.12671); gated units: Miech et al.
2018 (arXiv 1804.02516).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder

WIDTHS = (128, 256, 512, 1024)


class _Block(nn.Module):
    """Two convolutions of nine frames with a residual; (B, C, T) to (B, out, T / stride)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(channels, out, 9, stride, 4, bias=False), nn.BatchNorm1d(out)
        self.conv2, self.norm2 = nn.Conv1d(out, out, 9, 1, 4, bias=False), nn.BatchNorm1d(out)
        self.shortcut = nn.Sequential(nn.Conv1d(channels, out, 1, stride, bias=False), nn.BatchNorm1d(out))
        if stride == 1 and channels == out:
            self.shortcut = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        output: Tensor = (y + self.shortcut(x)).relu()
        return output


class DAVEnet(Encoder):
    """Spectrograms (B, 1, bands, T): all bands at once, then four stages of two blocks, T / 16; the mean over time.

    Args:
        bands: of the spectrogram.
    """

    dim = 1024
    stages = ("layer1", "layer2", "layer3", "layer4")

    def __init__(self, bands: int = 40) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(bands, WIDTHS[0], 1), nn.BatchNorm1d(WIDTHS[0])
        channels = WIDTHS[0]
        for name, width in zip(self.stages, WIDTHS, strict=True):
            self.add_module(name, nn.Sequential(_Block(channels, width, 2), _Block(width, width, 1)))
            channels = width

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the stages' maps (B, C, 1, T')."""
        x = self.norm1(self.conv1(x[:, 0])).relu()
        maps = {}
        for name in self.stages:
            x = self.get_submodule(name)(x)
            maps[name] = x[:, :, None]
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean over time."""
        return maps.mean((2, 3))


class GatedUnit(nn.Module):
    """x = W1 in + b1, then x sigma(W2 x + b2)."""

    def __init__(self, wide: int, out: int) -> None:
        super().__init__()
        self.dim = out
        self.linear, self.gate = nn.Linear(wide, out), nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, out) of x (N, wide)."""
        linear: Tensor = self.linear(x)
        gate: Tensor = self.gate(linear)
        return linear * gate.sigmoid()


class WordPool(nn.Module):
    """A sentence from its words' vectors: linear, ReLU, the maximum over the words.

    Args:
        words: length of a word's vector.
        dim: length of the sentence's.
        padding: let rows of zeros, which stand after the last word, take part, as in the released code.
    """

    def __init__(self, words: int, dim: int, padding: bool = False) -> None:
        super().__init__()
        self.dim, self.padding = dim, padding
        self.linear = nn.Linear(words, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, dim) of words (N, W, D); a sentence without words is 0."""
        y = self.linear(x).relu()
        if not self.padding:
            y = y * (x != 0).any(2, keepdim=True)  # ReLU's outputs: 0 never wins over a word
        return torch.amax(y, 1)
