"""Crops of feature maps: many views from one forward pass. STiCA (arXiv 2103.10211), section 3.2."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from coview.randomness import integers


def draw_start(key: Tensor, stream: int, size: int, window: int, as_released: bool = False) -> int:
    """Draw where a window of `window` begins in `size` positions, uniform over all size - window + 1.

    Args:
        key: int64 ().
        as_released: never the last one (and the first one where there is one other), as in the released code.
    """
    places = size - window + (0 if as_released else 1)
    return int(integers(key, stream, max(places, 1)))


def crop_space(maps: Tensor, size: int, top: int, left: int) -> Tensor:
    """Average maps (B, C, T, H, W) over a square of `size` positions; returns (B, C, T)."""
    return maps[..., top : top + size, left : left + size].mean((3, 4))


def crop_time(maps: Tensor, length: int, start: int) -> Tensor:
    """Average maps (B, C, T, H, W) over space, keep `length` steps, resample them to T; returns (B, C, T)."""
    return adaptive_avg_pool1d(maps.mean((3, 4))[..., start : start + length], maps.shape[2])
