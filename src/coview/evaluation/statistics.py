"""Measurements: every figure with its interval, its chance level, the number of items and of seeds behind it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from scipy.special import stdtrit
from torch import Tensor

from coview.errors import UsageError
from coview.randomness import integers, make_key

Z = 1.959963984540054  # the normal distribution's 97.5 % point
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
        items: what each test item contributed, float (n,), where `value` is their mean: it tells the noise that seeds
            share from what each has for itself (`over_seeds`). Not part of a row.
        signed: a difference, whose interval is never cut to 0..1. Not part of a row.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    chance: float | None
    n: int
    seeds: int = 1
    items: Tensor | None = field(default=None, repr=False, compare=False)
    signed: bool = field(default=False, repr=False, compare=False)

    @property
    def covers(self) -> str:
        """What the interval covers."""
        if self.low is None:
            return "no interval"
        if self.seeds == 1:
            return "the choice of test items"
        return "the choice of the seed" + (" and of test items" if self.items is not None else ", on these test items")

    def row(self) -> dict[str, Any]:
        """Return the measurement as plain data, the form of every `results` list."""
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.compare}


def accuracy(name: str, correct: Tensor, chance: float | None) -> Measurement:
    """Return the share of True in `correct`, bool (n,), with Wilson's interval."""
    n, hits = correct.numel(), int(correct.sum())
    if not n:
        raise UsageError(f"{name}: there is no item to measure it on")
    low, high = wilson(hits, n)
    return Measurement(name, hits / n, low, high, chance, n, items=correct.detach().cpu())


def mean(name: str, per_item: Tensor, chance: float | None, seed: int) -> Measurement:
    """Return the mean of `per_item` (n,) with its bootstrap interval; the seed draws the resamples."""
    low, high = bootstrap(per_item, seed)
    values = per_item.double().cpu()
    return Measurement(name, float(values.mean()), low, high, chance, values.numel(), items=values)


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson, JASA 1927, equation on p. 212).

    `successes` is no whole number where items succeed in part.

    Raises:
        UsageError: when n is not positive or successes lie outside 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise UsageError(f"an interval needs 0 <= successes <= n and n >= 1; got {successes} of {n}")
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
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


def resampled_counts(n: int, seed: int) -> Iterator[Tensor]:
    """Yield how often each of `n` items comes in each of 1000 resamples, int64 (25, n) at a time; drawn as `bootstrap`
    does, for figures that are no mean of items.
    """
    for first in range(0, _RESAMPLES, 25):
        pick = integers(make_key(seed, torch.arange(first, first + 25)), 0, n, n)
        yield torch.zeros(25, n, dtype=torch.int64).scatter_add_(1, pick, torch.ones_like(pick))


def logit_interval(value: float, drawn: Tensor, n: int) -> tuple[float, float]:
    """Return a 95 % interval of a figure within 0..1 that is no mean of items, such as an average precision.

    Normal on the scale of logit(value), with the resamples' standard deviation there (Boyd, Eng & Page, ECML PKDD 2013,
    section 3, who take the binomial one). Percentiles of resamples lean upward on few items: of 40 they cover .88, and
    nearly all that miss lie above. Where resamples do not vary, as at 0 or 1, Wilson's of `n` items.

    Args:
        value: the figure of all items.
        drawn: (R,), the figure of resampled items; NaN where it has none.
        n: what the figure is a share of, for an average precision the positives.
    """
    known = drawn[~drawn.isnan()].double()
    spread = float(known.std()) if len(known) > 1 else 0.0
    if not 0 < value < 1 or spread < 1e-9:
        return wilson(min(max(value, 0.0), 1.0) * n, n)
    middle, half = math.log(value / (1 - value)), Z * spread / (value * (1 - value))
    low, high = torch.tensor([middle - half, middle + half], dtype=torch.float64).sigmoid().tolist()
    return low, high


def over_seeds(measurements: Sequence[Measurement], signed: bool = False) -> Measurement:
    """Return the mean of one figure over independent seeds, with an interval that counts each noise once.

    The variance of the mean has two parts: that of the items, as far as seeds agree on them (it does not shrink with
    more seeds), and the variance between seeds over their number, which already holds what an item does under one seed
    alone. Where every seed brings its `items`, the two are told apart as in an analysis of variance of items by seeds
    (Scheffe, The analysis of variance, 1959, section 7.4), and the interval covers the choice of seed and items.
    Without them it covers the seed, on these test items: Student's.

    The percentage point of the sum of two variances lies halfway between Satterthwaite's (Biometrics 1946), which is
    short with few seeds, and Cochran and Cox's (Experimental designs, 1957), which is long: simulated coverage is
    .93 to .965 from three seeds on, whatever the share of the two parts.

    Proportions are cut to 0..1 when all single intervals lie inside it; `signed` figures, such as differences, never.

    Raises:
        UsageError: when the list is empty or mixes figures.
    """
    if len({m.name for m in measurements}) != 1:
        raise UsageError(f"expected one figure at several seeds, got {sorted({m.name for m in measurements})}")
    first, count = measurements[0], len(measurements)
    if count == 1:
        return first
    values = torch.tensor([m.value for m in measurements], dtype=torch.float64)
    value = float(values.mean())
    chances = [m.chance for m in measurements if m.chance is not None]
    chance = sum(chances) / len(chances) if chances else None
    answers = _answers(measurements)
    merged = dataclasses.replace(
        first, value=value, chance=chance, n=min(m.n for m in measurements), seeds=count,
        items=None if answers is None else answers.mean(0),
    )  # fmt: skip
    bounds = [(m.low, m.high) for m in measurements if m.low is not None and m.high is not None]
    if len(bounds) < count:
        return dataclasses.replace(merged, low=None, high=None)
    single = sum((high - low) / (2 * Z) for low, high in bounds) ** 2 / count**2  # the items' variance under one seed
    between = float(values.var()) / count
    shared = 0.0 if answers is None else _agreement(answers) * single
    if between + shared <= 0:  # every seed says the same: only the items are left to doubt
        shared = single
    half = _percentage_point(shared, between, count - 1) * math.sqrt(shared + between)
    low, high = value - half, value + half
    if not (signed or first.signed) and all(a >= 0 and b <= 1 for a, b in bounds):
        low, high = max(0.0, low), min(1.0, high)
    return dataclasses.replace(merged, low=low, high=high)


def _answers(measurements: Sequence[Measurement]) -> Tensor | None:
    """Return what the items contributed under each seed, float64 (S, n); None where the seeds do not tell."""
    items = [m.items for m in measurements]
    if any(each is None for each in items):
        return None
    known = [each.double() for each in items if each is not None]
    return torch.stack(known) if len({each.shape for each in known}) == 1 and known[0].numel() > 1 else None


def _agreement(answers: Tensor) -> float:
    """Return the share of the items' variance on which seeds agree, 0 to 1, of (S, n); 1 where nothing varies."""
    seeds, items = answers.shape
    centred = answers - answers.mean(1, keepdim=True)
    whole = float(centred.square().sum()) / (seeds * (items - 1))
    if whole <= 0:
        return 1.0
    common = centred.mean(0)
    alone = float((centred - common).square().sum()) / ((items - 1) * (seeds - 1))
    agreed = float(common.square().sum()) / (items - 1) - alone / seeds
    return min(max(agreed / whole, 0.0), 1.0)


def _percentage_point(shared: float, between: float, freedom: int) -> float:
    """Return the 97.5 % point for the sum of a well-known variance and one of few degrees of freedom."""
    student, whole = float(stdtrit(freedom, 0.975)), shared + between
    if whole <= 0:  # every seed has the same figure, and an interval without width
        return Z
    cochran = (Z * shared + student * between) / whole
    satterthwaite = float(stdtrit(min(freedom * (whole / between) ** 2, 1e6), 0.975)) if between > 0 else Z
    return (satterthwaite + cochran) / 2
