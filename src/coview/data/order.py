"""The order of samples: a permutation that is a function of (seed, epoch) alone and is never stored.

A balanced Feistel network over the smallest even number of bits permutes a power of four; values outside the epoch
are sent through again until they fall inside ("cycle walking", Black & Rogaway, CT-RSA 2002). Any process can ask
for any piece of any epoch, in memory proportional to the piece. NumPy counts, because on the few numbers of a batch
torch takes five times as long; the mixer is that of `coview.randomness`.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.randomness import make_key

_ROUNDS = 8  # four are provably enough for large halves; small epochs have halves of a few bits
_BLOCK = 1024  # positions computed at once
_ORDER = 0x6F72646572  # keeps the order's keys apart from the samples' own

Words = NDArray[np.uint64]


def permute(position: Tensor, count: int, seed: int, epoch: int) -> Tensor:
    """Return where `position` (int64, values in [0, count)) goes in the epoch's permutation of `count` things."""
    wanted = position.cpu().numpy()
    if not len(wanted):
        return position.clone()
    first, last = int(wanted.min()) // _BLOCK, int(wanted.max()) // _BLOCK
    if last - first > 1 + 2 * len(wanted) // _BLOCK:  # scattered: no use in whole blocks
        moved = _walk(wanted.astype(np.uint64), count, seed, epoch)
    else:
        blocks = [_block(number, count, seed, epoch) for number in range(first, last + 1)]
        moved = np.concatenate(blocks)[wanted - first * _BLOCK]
    return torch.from_numpy(moved.astype(np.int64)).to(position.device)


def rows_of(position: Tensor, rows: int, clips_per_recording: int, seed: int, epoch: int) -> Tensor:
    """Return the recordings read at `position` of an epoch that reads each of `rows` `clips_per_recording` times.

    Sample i of the unpermuted epoch uses recording i mod rows.
    """
    return permute(position, rows * clips_per_recording, seed, epoch) % rows


@functools.lru_cache(maxsize=8)
def _block(number: int, count: int, seed: int, epoch: int) -> Words:
    """Return where the positions of one block go: the batches that follow each other lie in one."""
    first = number * _BLOCK
    return _walk(np.arange(first, min(first + _BLOCK, count), dtype=np.uint64), count, seed, epoch)


def _walk(value: Words, count: int, seed: int, epoch: int) -> Words:
    bits = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    keys = _keys(seed, epoch)
    value = _feistel(value, bits, keys)
    outside = np.nonzero(value >= count)[0]
    while len(outside):
        value[outside] = _feistel(value[outside], bits, keys)
        outside = outside[value[outside] >= count]
    return value


@functools.lru_cache(maxsize=4)
def _keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    keys = make_key(_ORDER, seed, epoch, torch.arange(_ROUNDS)).numpy().view(np.uint64)
    return tuple(keys)


def _feistel(value: Words, bits: np.uint64, keys: tuple[np.uint64, ...]) -> Words:
    mask = (np.uint64(1) << bits) - np.uint64(1)
    left, right = value >> bits, value & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << bits) | right


def _mix(x: Words) -> Words:
    """Return what `randomness.mix` makes of the same 64 bits."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
