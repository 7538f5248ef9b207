"""Recurrent encoders of pictures in time: convolutional LSTMs, read one picture after the other.

Shi et al., "Convolutional LSTM network", NIPS 2015 (arXiv 1506.04214), without peepholes; the stack is the first half
of the network of Finn, Goodfellow & Levine 2016 (arXiv 1605.07157), figure 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder

State = tuple[Tensor, Tensor]  # what comes out of a cell, and what it keeps; both (B, C, H, W)


class ConvLSTM(nn.Module):
    """A cell: one convolution of input and output of before makes the gates i, j, f, o; the forget gate has bias 1."""

    def __init__(self, inputs: int, channels: int, kernel: int = 5) -> None:
        super().__init__()
        self.channels = channels
        self.gates = nn.Conv2d(inputs + channels, 4 * channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, state: State | None) -> State:
        """Return the state after x (B, inputs, H, W); without one, it begins with zeros."""
        if state is None:
            zero = x.new_zeros(len(x), self.channels, *x.shape[2:])
            state = zero, zero
        i, j, f, o = self.gates(torch.cat([x, state[0]], 1)).chunk(4, 1)
        kept = state[1] * (f + 1).sigmoid() + i.sigmoid() * j.tanh()
        return kept.tanh() * o.sigmoid(), kept


class NormalisedLSTM(nn.Module):
    """A cell whose output is normalised over all of a sample, with gain and bias for every channel."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.cell, self.norm = ConvLSTM(inputs, channels), nn.GroupNorm(1, channels)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Return maps (B, channels, H, W) and the state after x."""
        state = self.cell(x, state)
        return self.norm(state[0]), state


class RecurrentFrames(Encoder):
    """Pictures in time to maps of a half, a quarter and an eighth of their sides, by four cells between convolutions.

    Features are the last maps' mean over places and pictures.

    Args:
        channels: of a picture, whose sides are multiples of 8.
        width: channels of the first maps; the last have twice as many.
    """

    stages = ("scale1", "scale2", "scale3")

    def __init__(self, channels: int = 3, width: int = 32) -> None:
        super().__init__()
        self.dim = 2 * width
        self.scale1 = nn.Sequential(nn.Conv2d(channels, width, 5, 2, 2), nn.GroupNorm(1, width), nn.ReLU())
        self.scale2 = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())
        self.scale3 = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.ReLU())
        pairs = ((width, width), (width, width), (width, 2 * width), (2 * width, 2 * width))
        self.cells = nn.ModuleList(NormalisedLSTM(*pair) for pair in pairs)

    def step(self, x: Tensor, states: list[State] | None) -> tuple[dict[str, Tensor], list[State]]:
        """Return the maps of pictures (B, C, H, W), stage -> (B, channels, h, w), and the states after them."""
        before: Sequence[State | None] = states or [None] * len(self.cells)
        after: list[State] = []
        maps: dict[str, Tensor] = {"scale1": self.scale1(x)}
        x = maps["scale1"]
        for number, (cell, state) in enumerate(zip(self.cells, before, strict=True)):
            x, new = cell(x, state)
            after.append(new)
            if number % 2:
                name = self.stages[1 + number // 2]
                x = maps[name] = self.get_submodule(name)(x)
        return maps, after

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return stage name -> maps (B, channels, T, h, w) of clips (B, C, T, H, W)."""
        states: list[State] | None = None
        found = []
        for picture in x.unbind(2):
            maps, states = self.step(picture, states)
            found.append(maps)
        return {name: torch.stack([maps[name] for maps in found], 2) for name in self.stages}

    def pool(self, maps: Tensor) -> Tensor:
        """Return features (B, dim) of the last maps, of one picture or several."""
        return maps.flatten(2).mean(2)
