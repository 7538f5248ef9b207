"""The order of samples: a permutation that is a function of (seed, epoch) alone and is never stored.

A balanced Feistel network over the smallest even number of bits permutes a power of four; values outside the epoch
are sent through again until they fall inside ("cycle walking", Black & Rogaway, CT-RSA 2002). Any process can ask
for any piece of any epoch, in memory proportional to the piece. NumPy counts, because on the few numbers of a batch
torch takes five times as long; the mixer is that of `coview.randomness`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.randomness import make_key, uniform

_ROUNDS = 8  # four are provably enough for large halves; small epochs have halves of a few bits
_BLOCK = 4096  # positions computed at once: of batches of 256, a sixteenth of the calls
_MOST_LAPS = 5  # a pass over a file for five clips decodes a third of what five passes do; more would gain little
_LEAST_BATCHES, _MOST_BATCHES = 4, 32  # of a lap; five steps on one batch of recordings teach far less (performance.md)
_ORDER, _LAP, _DRAWN = 0x6F72646572, 0x6C6170, 0x647261776E  # keep the order's keys apart from the samples' own

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


@dataclass(frozen=True)
class Order:
    """The order of an epoch in which each of `rows` recordings is read `clips_per_recording` times.

    With several laps the reads of a recording lie near each other, so that one pass over its file serves them all:
    `laps` of them in a window of `window` reads of different recordings. A window is read `laps` times from its
    beginning to its end, each lap in another order, before the next one begins. In every lap a recording keeps its
    place in the batch (its position modulo `batch_size`), so that the same process reads it again, however many there
    are; only the end of an epoch whose recordings do not fill the last window is an exception.

    With one lap, as with one clip of each recording, the epoch is one permutation of all reads.

    Attributes:
        laps: a divisor of `clips_per_recording`.
        window: a multiple of `batch_size`.
    """

    rows: int
    clips_per_recording: int
    batch_size: int
    laps: int
    window: int

    @classmethod
    def within(cls, reads: int, rows: int, clips_per_recording: int, batch_size: int) -> Order:
        """Return the order with the most laps, up to 5, whose windows hold at most `reads` reads.

        Every window has at least four batches of recordings, the epoch's last too, or all there are; where `reads` has
        no room for two laps of such ones, the epoch has one lap. The largest window is taken that leaves no batch over,
        or at least four.
        """
        for laps in range(min(_MOST_LAPS, clips_per_recording), 1, -1):
            there = rows * (clips_per_recording // laps) // batch_size
            most, least = min(reads // (batch_size * laps), _MOST_BATCHES), max(1, min(_LEAST_BATCHES, there))
            if clips_per_recording % laps:
                continue
            for batches in range(most, least - 1, -1):
                left = there % batches if there > batches else 0
                if not left or left >= _LEAST_BATCHES:
                    return cls(rows, clips_per_recording, batch_size, laps, batch_size * batches)
        return cls(rows, clips_per_recording, batch_size, 1, batch_size)

    def rows_of(self, position: Tensor, seed: int, epoch: int) -> Tensor:
        """Return the recordings read at `position` (int64, values in [0, rows x clips_per_recording)) of an epoch."""
        if self.laps > 1:
            position = torch.from_numpy(self._read_at(position.cpu().numpy(), seed, epoch))
        return permute(position, self._reads, seed, epoch) % self.rows

    def steps_together(self, step: int, steps_per_epoch: int) -> range:
        """Return the steps of the epoch's window that `step` lies in; of one lap, the step alone."""
        if self.laps == 1:
            return range(step, step + 1)
        length = self.window * self.laps // self.batch_size
        number = min(step // length, self._windows - 1)
        return range(number * length, steps_per_epoch if number == self._windows - 1 else (number + 1) * length)

    def weighted(self, chances: Tensor) -> WeightedOrder:
        """Return the order of as many reads in which recordings are drawn with these chances (float64 (rows,))."""
        reached = chances.double().cpu().cumsum(0)
        return WeightedOrder(self.rows * self.clips_per_recording, self.batch_size, reached / reached[-1])

    @property
    def _reads(self) -> int:
        """Reads of a lap through all windows."""
        return self.rows * (self.clips_per_recording // self.laps)

    @property
    def _windows(self) -> int:
        """How many windows there are: what is left over and less than a batch belongs to the last of them."""
        return max(1, (self._reads + self.window - self.batch_size) // self.window)

    def _read_at(self, position: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """Return which read, in the order of the windows, each position is."""
        found = np.empty_like(position)
        last = self._windows - 1
        number = np.minimum(position // (self.window * self.laps), last)
        for window in np.unique(number):
            first = window * self.window
            size = self._reads - first if window == last else self.window
            here = np.nonzero(number == window)[0]
            lap, slot = np.divmod(position[here] - first * self.laps, size)
            for one in np.unique(lap):
                key = int(make_key(_LAP, seed, epoch, int(window), int(one)))
                inside = lap == one
                found[here[inside]] = first + _lap(key, int(size), self.batch_size)[slot[inside]]
        return found


@dataclass(frozen=True)
class WeightedOrder:
    """The order of an epoch of `reads` reads, in which some recordings are drawn more often than others.

    A read is drawn in its own part of the unit interval, the parts in the order of a permutation: in every epoch a
    recording is read as often as it is expected to be, to within two, and over epochs exactly that often.

    Attributes:
        reached: float64 (rows,), the chance of a recording and of all before it; the last is 1.
    """

    reads: int
    batch_size: int
    reached: Tensor

    def rows_of(self, position: Tensor, seed: int, epoch: int) -> Tensor:
        """Return the recordings read at `position` (int64, values in [0, reads)) of an epoch."""
        part = permute(position, self.reads, seed, epoch)
        inside = uniform(make_key(_DRAWN, seed, epoch, part), 0)
        row = torch.searchsorted(self.reached, (part + inside.double()) / self.reads, right=True)
        return row.clamp(max=len(self.reached) - 1)

    def steps_together(self, step: int, steps_per_epoch: int) -> range:
        """Return the step alone."""
        return range(step, step + 1)


@functools.lru_cache(maxsize=8)
def _lap(key: int, size: int, width: int) -> NDArray[np.int64]:
    """Return which of `size` slots is read when: a permutation that keeps every slot in its column of `width`."""
    drawn = _mix(np.arange(size, dtype=np.uint64) ^ np.uint64(key % 2**64))
    grid = np.full(-(-size // width) * width, np.iinfo(np.uint64).max)
    grid[:size] = drawn
    rank = np.argsort(grid.reshape(-1, width), axis=0, kind="stable")
    slots: NDArray[np.int64] = (rank * width + np.arange(width)).reshape(-1)[:size]
    return slots


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
