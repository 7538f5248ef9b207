"""Recordings of several classes at once: their marks (1 there, -1 absent, 0 unclear), and how well scores rank them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from coview.data.collection import Collection
from coview.data.feature_files import FeatureTable
from coview.data.features_source import FeatureSource
from coview.data.joined import JoinedSource
from coview.data.relabelled import Relabelled
from coview.data.source import Source
from coview.errors import UsageError
from coview.evaluation.average_precision import Definition, ranked_precision
from coview.evaluation.statistics import Measurement, logit_interval, resampled_counts
from coview.methods.classifier import MARKS
from coview.randomness import make_key, uniform

_ORDERS, _CHANCE = 50, 0x6368616E  # random orders that chance is the mean of, and their stream


class Marks(NamedTuple):
    """What recordings are of: names of the classes, and int64 (N, C) by row."""

    classes: list[str]
    values: Tensor


def marks_of(collection: str, source: Source, classes: Sequence[str] = ()) -> Marks:
    """Return the marks of a source's recordings: of a collection with `labels` these, else one label of each.

    A class that a recording says nothing of is unclear; so are all classes of one without a label. Labels of a table
    (`Relabelled`) stand in place of both.

    Args:
        collection: the name that `source` was opened by.
        classes: which, and in which order; none: all that the collection knows.

    Raises:
        UsageError: there are no labels at all, or none of two classes.
    """
    known = {} if isinstance(source, Relabelled) else _known(collection)
    names = list(classes) or sorted(set().union(*known.values())) or list(source.classes)
    if len(names) < 2:
        raise UsageError(f"{source.name}: expected labels of two classes at least, one or several of each recording")
    if not known:
        place = {kind: number for number, kind in enumerate(source.classes)}
        number = torch.tensor([place.get(kind, len(place)) for kind in names])  # another collection has its own order
        own = torch.where(source.labels[:, None] == number, 1, -1) * (source.labels >= 0)[:, None]
        return Marks(names, own)
    of = [[known.get(name, {}).get(kind, 0) for kind in names] for name in source.ids]
    return Marks(names, torch.tensor(of, dtype=torch.int64).reshape(len(of), len(names)))


def has_several(collection: str) -> bool:
    """Return whether a name is that of a collection whose recordings have several classes at once."""
    return bool(_known(collection))


def _known(collection: str) -> dict[str, dict[str, int]]:
    """Return id -> class -> mark of a collection with `labels`; nothing of others."""
    if not (Path(collection) / "collection.json").is_file():
        return {}
    table = Collection.open(collection).columns(["id", "labels"])
    if "labels" not in table.column_names:
        return {}
    rows = zip(table.column("id").to_pylist(), table.column("labels").to_pylist(), strict=True)
    return {name: dict(labels) for name, labels in rows if labels}


def with_marks(source: Source, marks: Marks) -> Source:
    """Return a source whose samples have their marks too, as the view "marks"."""
    values = {MARKS: FeatureTable(MARKS, list(source.ids), marks.values.float())}
    beside = FeatureSource(MARKS, values, list(source.ids), source.labels, list(source.classes))
    return JoinedSource(source.name, [source, beside])


def precisions(scores: Tensor, marks: Tensor, definition: Definition, counts: Tensor | None = None) -> Tensor:
    """Return the average precision of every class (C,); NaN where it has no positive.

    Args:
        scores: (N, C); finite. Items of one score share their place in "step" and "trapezoid" alone.
        marks: (N, C); unclear ones are left out.
        counts: (R, N), how often each item counts: then (R, C) is returned.
    """
    whole = torch.ones(1, len(scores), dtype=torch.float64) if counts is None else counts.double()
    columns = []
    for score, mark in zip(scores.double().T, marks.T, strict=True):
        order = torch.argsort(score, descending=True, stable=True)
        weight, ranked = whole[:, order], mark[order]
        good, bad = weight * (ranked > 0), weight * (ranked < 0)
        ends = None
        if definition in ("step", "trapezoid"):
            ends = torch.cat([score[order].diff() != 0, torch.ones(1, dtype=torch.bool)])
        columns.append(ranked_precision(good, bad, good.sum(-1), definition, ends))
    found = torch.stack(columns, -1)
    return found[0] if counts is None else found


def resampled_precisions(scores: Tensor, marks: Tensor, definition: Definition, seed: int) -> Tensor:
    """Return the mean average precision over classes float64 (1000,) in resamples of the recordings; see `precisions`.

    A class without a positive in a resample has no part in it. The resamples depend on seed and number alone.
    """
    drawn = [precisions(scores, marks, definition, part).nanmean(1) for part in resampled_counts(len(scores), seed)]
    return torch.cat(drawn)


def mean_precision(
    what: str, name: str, scores: Tensor, marks: Tensor, definition: Definition, seed: int
) -> Measurement:
    """Return "<what>_map-<definition>/<name>", the mean over the classes that have a positive.

    The interval is over resampled recordings. Chance is the mean of random orders: more than the share of positives,
    and the more so the fewer recordings there are.

    Raises:
        UsageError: no class has a positive, or a score is not finite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise UsageError(f"{what}: scores are not finite")
    there = (marks > 0).any(0)
    if not bool(there.any()):
        raise UsageError(f"{what}: no test recording is of any class")
    scores, marks = scores[:, there], marks[:, there]
    value = float(precisions(scores, marks, definition).mean())
    drawn = resampled_precisions(scores, marks, definition, seed)
    low, high = logit_interval(value, drawn, int((marks > 0).sum()))
    orders = (uniform(make_key(seed, order), _CHANCE, *scores.shape) for order in range(_ORDERS))
    chance = float(torch.stack([precisions(order, marks, definition).mean() for order in orders]).mean())
    return Measurement(f"{what}_map-{definition}/{name}", value, low, high, chance, len(scores))
