"""Count, mean and scatter of rows, in one pass: float64, mergeable, exact whatever the blocks and their order.

The update is that of Chan, Golub & LeVeque 1983 ("Algorithms for computing the sample variance", The American
Statistician 37): with d the difference of two parts' means,

    n = na + nb,   mean = ma + d nb / n,   S = Sa + Sb + (na nb / n) d d'

E[xx'] - mean mean' is never formed: with a mean of 100 standard deviations it loses every digit of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from coview.parallel import world_size

_PANEL = 128  # columns of the symmetric product computed together; the lower triangle is left out


class Scatter:
    """Running count, mean (D,) and scatter (D, D), the sum of products of deviations, of rows seen in blocks."""

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self._upper = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    @classmethod
    def of(cls, count: int, mean: Tensor, scatter: Tensor) -> Scatter:
        """Return the state with these values; mean (D,) and symmetric scatter (D, D) in float64."""
        state = cls(0)
        state.count, state.mean, state._upper = count, mean, scatter
        return state

    @property
    def scatter(self) -> Tensor:
        """The sum of products of deviations from the mean, (D, D), symmetric."""
        upper = self._upper.triu()
        return upper + upper.triu(1).T

    def update(self, parts: Sequence[Tensor], block: int = 1024) -> None:
        """Take in rows given as views side by side: parts (N, d_v) of any float dtype, sum of d_v equal to D.

        A working copy of `block` rows in float64 is all that is allocated.
        """
        rows = parts[0].shape[0]
        buffer = self.mean.new_empty(min(block, rows), len(self.mean))
        for start in range(0, rows, block):
            self._block([part[start : start + block] for part in parts], buffer)

    def _block(self, parts: Sequence[Tensor], buffer: Tensor) -> None:
        count, centred = parts[0].shape[0], buffer[: parts[0].shape[0]]
        mean = torch.cat([part.mean(0, dtype=torch.float64) for part in parts])
        start = 0
        for part in parts:
            columns = slice(start, start := start + part.shape[1])
            torch.sub(part, mean[columns], out=centred[:, columns])
        for start in range(0, len(mean), _PANEL):
            panel = centred[:, start : start + _PANEL]
            self._upper[start : start + _PANEL, start:].addmm_(panel.T, centred[:, start:])
        self._shift(count, mean)

    def merge(self, other: Scatter) -> None:
        """Take in what another state has seen."""
        if other.count:
            self._upper += other._upper.to(self._upper.device)
            self._shift(other.count, other.mean.to(self.mean.device))

    def _shift(self, count: int, mean: Tensor) -> None:
        total = self.count + count
        difference = mean - self.mean
        self._upper.addr_(difference, difference, alpha=self.count * count / total)
        self.mean = self.mean + difference * (count / total)
        self.count = total

    def reduced(self) -> Scatter:
        """Return the state of all processes' rows together, the same on every process; alone, a copy."""
        if world_size() == 1:
            return Scatter.of(self.count, self.mean.clone(), self._upper.clone())
        count = torch.tensor(self.count, dtype=torch.float64, device=self.mean.device)
        dist.all_reduce(count)
        total = int(count)
        if total == 0:
            return Scatter(len(self.mean), self.mean.device)
        mean = self.mean * (self.count / total)
        dist.all_reduce(mean)
        difference = self.mean - mean
        upper = torch.addr(self._upper, difference, difference, alpha=self.count)
        dist.all_reduce(upper)
        return Scatter.of(total, mean, upper)
