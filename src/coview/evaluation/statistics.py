"""Measurements: every figure with its interval, its chance level, the number of items and of seeds behind it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.randomness import integers, make_key

_Z = 1.959963984540054  # the normal distribution's 97.5 % point
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # Student's, 1 to 10 degrees of freedom
_RESAMPLES = 1000


@dataclass(frozen=True)
class Measurement:
    """One figure of a protocol.

    Attributes:
        name: "<what>/<model>", such as "video_probe/xid" or "retrieval_v2a_r1/shuffled".
        value: the figure.
        low, high: a 95 % interval around it; `covers` says of what. None where a figure has none.
        chance: what guessing gives; None where guessing has no meaning.
        n: test items (or queries) the figure was measured on.
        seeds: independent repetitions averaged in it.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int
    seeds: int = 1

    @property
    def covers(self) -> str:
        """What the interval covers."""
        if self.low is None:
            return "no interval"
        return "the choice of test items" if self.seeds == 1 else "the choice of test items and of the seed"

    def row(self) -> dict[str, Any]:
        """Return the measurement as plain data, the form of every `results` list."""
        return dataclasses.asdict(self)


def accuracy(name: str, correct: Tensor, chance: float | None) -> Measurement:
    """Return the share of True in `correct`, bool (n,), with Wilson's interval."""
    n, hits = correct.numel(), int(correct.sum())
    low, high = wilson(hits, n)
    return Measurement(name, hits / n, low, high, chance, n)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson, JASA 1927, equation on p. 212).

    Raises:
        UsageError: when n is not positive or successes lie outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"an interval needs 0 <= successes <= n and n >= 1; got {successes} of {n}")
    share, z2 = successes / n, _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # At the ends the formula gives the end itself, which rounding must not overstep.
    return (0.0 if successes == 0 else max(0.0, centre - half), 1.0 if successes == n else min(1.0, centre + half))


def bootstrap(per_item: Tensor, seed: int, statistic: Literal["mean", "median"] = "mean") -> tuple[float, float]:
    """Return the 95 % percentile interval of a statistic of `per_item` (n,) over resampled items.

    Draws 1000 resamples (Efron & Tibshirani 1993, chapter 13) that depend on the seed alone.
    """
    n = per_item.numel()
    if n < 1:
        raise UsageError("a bootstrap interval needs at least one item")
    values, drawn = per_item.double().cpu(), []
    for first in range(0, _RESAMPLES, 100):  # in parts, to bound memory for large n
        pick = integers(make_key(seed, torch.arange(first, first + 100)), 0, n, n)
        sample = values[pick]
        drawn.append(sample.mean(1) if statistic == "mean" else sample.quantile(0.5, dim=1))
    low, high = torch.cat(drawn).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def over_seeds(measurements: Sequence[Measurement], signed: bool = False) -> Measurement:
    """Return the mean of one figure over independent seeds.

    The interval covers both the seed and the test items: the half-width is the root of the sum of two squares, that of
    Student's interval for the mean over seeds and the mean half-width over items (the seeds share their test items, so
    the second does not shrink). Proportions may reach past 0 or 1 there and are cut to that range only when all
    single intervals lie inside it; `signed` figures, such as differences, are never cut.

    Raises:
        UsageError: when the list is empty or mixes figures.
    """
    if len({m.name for m in measurements}) != 1:
        raise UsageError(f"expected one figure at several seeds, got {sorted({m.name for m in measurements})}")
    first, count = measurements[0], len(measurements)
    if count == 1:
        return first
    values = torch.tensor([m.value for m in measurements], dtype=torch.float64)
    mean = float(values.mean())
    chances = [m.chance for m in measurements if m.chance is not None]
    chance = sum(chances) / len(chances) if chances else None
    merged = dataclasses.replace(first, value=mean, chance=chance, n=min(m.n for m in measurements), seeds=count)
    bounds = [(m.low, m.high) for m in measurements if m.low is not None and m.high is not None]
    if len(bounds) < count:
        return dataclasses.replace(merged, low=None, high=None)
    seed_half = _student(count - 1) * float(values.std()) / math.sqrt(count)
    item_half = sum(high - low for low, high in bounds) / (2 * count)
    half = math.hypot(seed_half, item_half)
    low, high = mean - half, mean + half
    if not signed and all(a >= 0 and b <= 1 for a, b in bounds):
        low, high = max(0.0, low), min(1.0, high)
    return dataclasses.replace(merged, low=low, high=high)


def _student(freedom: int) -> float:
    """Return the 97.5 % point of Student's t; past ten degrees by Cornish and Fisher's expansion (error < 0.003)."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = _Z
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
