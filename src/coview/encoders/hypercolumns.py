"""Hypercolumns: what all layers of a network say of one place of a picture, beside each other.

Hariharan et al., CVPR 2015; as Larsson, Maire & Shakhnarovich, ECCV 2016 (arXiv 1603.06668), sample them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from coview.encoders.base import Encoder
from coview.objectives.precision import in_float32

_PROBED = 64  # pixels a side of the picture by which a network's channels are counted


def hypercolumns(maps: Iterable[Tensor], places: Tensor, side: int) -> Tensor:
    """Return the values of maps (B, C_l, H_l, W_l) at places (B, P, 2) of a picture, (B, P, sum of C_l).

    A map of about 1/s of the picture's side, s a power of two, is looked up at place / s, between its values
    bilinearly and not beyond its edge; cell (0, 0) lies at pixel (0, 0).

    Args:
        places: row and column in pixels, whole or not.
        side: the picture's height in pixels.
    """
    return torch.cat([_sampled(values, places, _stride(side, values.shape[2])) for values in maps], dim=2)


@torch.no_grad()
def channels_of(encoder: Encoder, channels: int) -> int:
    """Return the length of a hypercolumn of all of an encoder's stages, for pictures of `channels`."""
    training, like = encoder.training, next(encoder.parameters())
    maps = encoder.eval().feature_maps(like.new_zeros(1, channels, _PROBED, _PROBED))
    encoder.train(training)
    return sum(values.shape[1] for values in maps.values())


def _stride(side: int, cells: int) -> int:
    return int(2 ** round(math.log2(side / cells)))


@in_float32
def _sampled(values: Tensor, places: Tensor, stride: int) -> Tensor:
    height, width = values.shape[2:]
    # grid_sample counts from -1 in the first cell's middle to 1 in the last one's.
    last = values.new_tensor([max(height - 1, 1), max(width - 1, 1)])
    grid = (2 * (places.to(values.dtype) / stride) / last - 1).flip(-1)
    found = grid_sample(values, grid[:, None], mode="bilinear", padding_mode="border", align_corners=True)
    return found[:, :, 0].transpose(1, 2)
