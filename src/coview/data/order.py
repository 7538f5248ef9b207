"""The order of samples: a permutation that is a function of (seed, epoch) alone and is never stored.

A balanced Feistel network over the smallest even number of bits permutes a power of four; values outside the epoch
are sent through again until they fall inside ("cycle walking", Black & Rogaway, CT-RSA 2002). Any process can ask
for any piece of any epoch, in memory proportional to the piece.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.randomness import make_key, mix

_ROUNDS = 8  # four are provably enough for large halves; small epochs have halves of a few bits
_ORDER = 0x6F72646572  # keeps the order's keys apart from the samples' own


def permute(position: Tensor, count: int, seed: int, epoch: int) -> Tensor:
    """Return where `position` (int64, values in [0, count)) goes in the epoch's permutation of `count` things."""
    bits = max(1, ((count - 1).bit_length() + 1) // 2)
    keys = make_key(_ORDER, seed, epoch, torch.arange(_ROUNDS))
    value = _feistel(position, bits, keys)
    outside = value >= count
    while bool(outside.any()):
        value = torch.where(outside, _feistel(value, bits, keys), value)
        outside = value >= count
    return value


def rows_of(position: Tensor, rows: int, clips_per_recording: int, seed: int, epoch: int) -> Tensor:
    """Return the recordings read at `position` of an epoch that reads each of `rows` `clips_per_recording` times.

    Sample i of the unpermuted epoch uses recording i mod rows.
    """
    return permute(position, rows * clips_per_recording, seed, epoch) % rows


def _feistel(value: Tensor, bits: int, keys: Tensor) -> Tensor:
    mask = (1 << bits) - 1
    left, right = value >> bits, value & mask
    for key in keys:
        left, right = right, left ^ (mix(right ^ key) & mask)
    return (left << bits) | right
