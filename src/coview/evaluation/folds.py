"""Official folds: one result for each, and their mean."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import torch

from coview.data.collection import Collection
from coview.errors import UsageError
from coview.evaluation.bench import Result
from coview.evaluation.measurable import common
from coview.evaluation.statistics import Measurement
from coview.files import read_json

BOTH = "There are few recordings: test and validation part are measured both, each by itself, and averaged."
_UNEVEN = "not every fold has it"


def chosen_folds(collection: str) -> tuple[int, ...]:
    """Return the folds of a small collection whose parts were chosen at indexing (`data.parts`); none of all others."""
    card = Path(collection) / "collection.json"
    parts = read_json(card, "a collection").get("parts") if card.is_file() else None
    by_class = isinstance(parts, dict) and parts.get("by") == "class"  # a large collection is not read for this
    return tuple(range(1, Collection.open(collection).folds + 1)) if by_class else ()


def over_parts(results: Mapping[int, Result]) -> Result:
    """Join the results of chosen folds: the mean of what both measured, or what one has where the other has nothing.

    Parts of other sizes may have other figures, such as R@5 of eight and not of seven: these are left out.
    """
    told = {fold: result for fold, result in results.items() if result.results} or dict(results)
    whole = over_folds(told)
    whole.results = [figure for figure in whole.results if "@fold" not in figure.name]
    whole.problems = [problem for problem in whole.problems if problem[1] != _UNEVEN]
    whole.notes[:0] = [BOTH] if len(told) > 1 else []
    return whole


def over_folds(results: Mapping[int, Result]) -> Result:
    """Join the results of folds: every figure's mean, and behind it each fold's own as "<what>@fold<k>/<name>".

    The interval of a mean covers the choice of test items: half the root of the summed squares of the folds' widths
    over their number, as for independent test parts. Training parts overlap, so that the scatter between folds says
    little about another training set (Bengio & Grandvalet, JMLR 2004); it is not in the interval. `n` is the sum.

    A figure that not every fold has is left out and named.

    Raises:
        UsageError: there are no results, or they have no figure in common.
    """
    if not results:
        raise UsageError("there are no folds to join")
    first = next(iter(results.values()))
    whole = Result(first.protocols, [], {"folds": sorted(results)}, weights=first.weights)
    shared, some = common([result.results for result in results.values()])
    if some and not shared:
        raise UsageError("the folds' results hold different figures")
    for same in shared:
        whole.results.append(_mean(same))
        if len(same) > 1:
            whole.results += [_of_fold(m, fold) for fold, m in zip(results, same, strict=True)]
    for figure in some:
        whole.lacks(figure, [_UNEVEN])
    for fold, result in results.items():
        whole.choices[f"fold {fold}"] = result.choices
        whole.notes += [note for note in result.notes if note not in whole.notes]
        whole.signs += [sign for sign in result.signs if sign not in whole.signs]
        whole.report(result.problems)
    return whole


def _of_fold(measurement: Measurement, fold: int) -> Measurement:
    what, _, name = measurement.name.partition("/")
    return dataclasses.replace(measurement, name=f"{what}@fold{fold}/{name}")


def _mean(same: list[Measurement]) -> Measurement:
    count = len(same)
    value = math.fsum(m.value for m in same) / count
    chances = [m.chance for m in same if m.chance is not None]
    chance = math.fsum(chances) / count if len(chances) == count else None
    items = [m.items.double() for m in same if m.items is not None]
    joined = torch.cat(items) if len(items) == count else None
    merged = dataclasses.replace(same[0], value=value, chance=chance, n=sum(m.n for m in same), items=joined)
    if count == 1 or any(m.low is None or m.high is None for m in same):
        return same[0] if count == 1 else dataclasses.replace(merged, low=None, high=None)
    half = math.sqrt(math.fsum(((m.high or 0.0) - (m.low or 0.0)) ** 2 for m in same)) / (2 * count)
    low, high = value - half, value + half
    if not same[0].signed and all((m.low or 0.0) >= 0 and (m.high or 0.0) <= 1 for m in same):
        low, high = max(0.0, low), min(1.0, high)
    return dataclasses.replace(merged, low=low, high=high)
