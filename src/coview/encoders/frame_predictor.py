"""From a picture's maps and what is done to it to the next picture: by moving its pixels.

The second half of the network of Finn, Goodfellow & Levine 2016 (arXiv 1605.07157), figure 1. Its released code has as
many kernels as masks are left for kernels and the painted picture together, so that the last kernel is dropped; here
every layer has its mask. Masks and painted pictures come from linear layers: the released ones pass a ReLU first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from coview.encoders.conv_lstm import NormalisedLSTM, State
from coview.objectives.pixel_motion import (
    composite,
    flow_of_affine,
    flow_of_kernels,
    kernel_of,
    move_by_affine,
    move_by_kernels,
    move_by_places,
)

Motion = Literal["cdna", "dna", "stp"]
_SIDE = 5  # of the kernels: two pixels to each side
_HIDDEN = 100  # units before the affine maps


@dataclass(frozen=True)
class NextPicture:
    """What comes next.

    Attributes:
        picture: (B, C, H, W).
        masks: (B, K, H, W), shares of the picture before, of what is painted (cdna, stp), and of each motion.
        flow: (B, 2, H, W), how far what is seen has come, in pixels to the right and down.
    """

    picture: Tensor
    masks: Tensor
    flow: Tensor


class MotionDecoder(nn.Module):
    """Maps of `RecurrentFrames` to the next picture, by three more cells, masks, and one kind of motion.

    Args:
        channels, side: of the pictures.
        width: of the encoder.
        known: how many numbers are known of a step, such as its action and state.
        motion: kernels of the whole picture (cdna), a kernel at every place (dna), or affine maps (stp).
        motions: kernels of cdna, maps of stp.
    """

    def __init__(self, channels: int, side: int, width: int, known: int, motion: Motion, motions: int) -> None:
        super().__init__()
        self.motion, self.motions = motion, motions if motion != "dna" else 1
        self.join = nn.Conv2d(2 * width + known, 2 * width, 1)
        pairs = ((2 * width, 4 * width), (4 * width, 2 * width), (3 * width, width))
        self.cells = nn.ModuleList(NormalisedLSTM(*pair) for pair in pairs)
        ups = ((4 * width, 4 * width), (3 * width, 3 * width), (2 * width, 2 * width))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(*pair, 3, 2, 1, output_padding=1) for pair in ups)
        self.norm = nn.GroupNorm(1, 2 * width)
        self.painted = nn.Conv2d(2 * width, channels, 1) if motion != "dna" else None
        self.masks = nn.Conv2d(2 * width, self.motions + (2 if self.painted else 1), 1)
        deepest, taps = 4 * width * (side // 8) ** 2, _SIDE**2
        self.head: nn.Module
        if motion == "cdna":
            self.head = nn.Linear(deepest, motions * taps)
        elif motion == "stp":
            self.head = nn.Sequential(nn.Linear(deepest, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, motions * 6))
        else:
            self.head = nn.Conv2d(2 * width, taps, 1)

    def forward(
        self, picture: Tensor, maps: dict[str, Tensor], known: Tensor, states: list[State] | None
    ) -> tuple[NextPicture, list[State]]:
        """Return what follows `picture` (B, C, H, W), and the states after it.

        Args:
            maps: the encoder's of the picture.
            known: (B, known), may be of no numbers.
        """
        before: Sequence[State | None] = states or [None] * len(self.cells)
        after: list[State] = []
        deep = maps["scale3"]
        tiled = known[:, :, None, None].expand(-1, -1, *deep.shape[2:]).to(deep.dtype)
        x, deepest = self.join(torch.cat([deep, tiled], 1)).relu(), deep
        beside = (None, maps["scale2"], maps["scale1"])
        for cell, up, state, more in zip(self.cells, self.ups, before, beside, strict=True):
            x, new = cell(x, state)
            deepest = x if more is None else deepest
            after.append(new)
            x = up(x if more is None else torch.cat([x, more], 1))
            x = self.norm(x).relu() if up is self.ups[-1] else x.relu()
        masks = self.masks(x).float().softmax(1) if x.dtype.itemsize < 4 else self.masks(x).softmax(1)
        moved, flow = self._moved(picture, deepest, x)
        layers, flows = [picture[:, None]], [torch.zeros_like(flow[:, :1])]
        if self.painted is not None:
            layers.append(self.painted(x).sigmoid()[:, None].to(picture))
            flows.append(flows[0])
        made = composite(torch.cat([*layers, moved], 1), masks)
        return NextPicture(made, masks, composite(torch.cat([*flows, flow], 1), masks)), after

    def _moved(self, picture: Tensor, deepest: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return moved pictures (B, K, C, H, W) and how far they are moved, (B, K, 2, H, W) or 1 for H and W."""
        if self.motion == "dna":
            kernels = kernel_of(self.head(x), 1)
            flow = flow_of_kernels(kernels.movedim(1, -1)).movedim(-1, 1)
            return move_by_places(picture, kernels)[:, None], flow[:, None]
        raw = self.head(deepest.flatten(1))
        raw = raw.view(len(raw), self.motions, raw.shape[1] // self.motions)
        if self.motion == "cdna":
            kernels = kernel_of(raw)
            return move_by_kernels(picture, kernels.view(*kernels.shape[:2], _SIDE, _SIDE)), flow_of_kernels(kernels)[
                ..., None, None
            ]
        theta = raw.float() if raw.dtype.itemsize < 4 else raw
        theta = theta + theta.new_tensor([1, 0, 0, 0, 1, 0])
        return move_by_affine(picture, theta), flow_of_affine(theta, (picture.shape[-2], picture.shape[-1]))
