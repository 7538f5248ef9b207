"""Protocol few-shot: the linear probe on a few labels of every class, drawn once, written down, nested.

A budget is a ratio of each class's training recordings, max(1, floor(r n_c)) of them as in AV-SSRL, or k recordings of
each class. Which ones is a function of (seed, identity of the training part, recording's id) and of nothing else: all
processes draw the same, and a larger budget holds every recording of a smaller one. AV-SSRL seeds its launching process
only, so that every rank draws another subset and more labels are used than declared.

Each draw of each budget is kept as a file of its own, with the ids it used: a stopped call goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coview.data.source import Source
from coview.evaluation.bench import Bench, describe
from coview.evaluation.measurable import common, question
from coview.evaluation.probe import FIXED, fit_probe
from coview.evaluation.resume import Piece, figures_of, figures_piece, keep
from coview.evaluation.scores import filled, score
from coview.evaluation.statistics import Measurement, over_seeds
from coview.randomness import make_key, uniform

_ENOUGH = 10  # recordings of every class from which on the penalty is chosen on a held-out fifth
PENALTY = f"chosen on a held-out fifth from {_ENOUGH} recordings of every class on, below that {FIXED}"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many labels of each class are used: a ratio of what there is, or a number."""

    ratio: float | None = None
    shots: int | None = None

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.shots is None):
            raise ValueError("a budget is a ratio or a number of shots, one of them")
        if (self.ratio is not None and not 0 < self.ratio <= 1) or (self.shots is not None and self.shots < 1):
            raise ValueError("a ratio is above 0 and at most 1, shots are at least 1")

    def __str__(self) -> str:
        return f"r{self.ratio:g}" if self.ratio is not None else f"k{self.shots}"

    def of(self, count: int) -> int:
        """Return how many of a class's `count` recordings are used."""
        if self.ratio is not None:
            return max(1, math.floor(self.ratio * count + 1e-9)) if count else 0
        return min(self.shots or 0, count)


def draw(source: Source, budget: Budget, seed: int) -> Tensor:
    """Return the rows (int64, ascending) whose labels may be used; nested over budgets of one seed."""
    identity = int.from_bytes(hashlib.sha256(source.fingerprint.encode()).digest()[:8], "big", signed=True)
    digests = [hashlib.sha256(name.encode()).digest() for name in source.ids]
    names = torch.tensor([int.from_bytes(digest[:8], "big", signed=True) for digest in digests])
    order = torch.argsort(uniform(make_key(seed, torch.tensor(identity), names), 0), stable=True)
    chosen = []
    for label in range(len(source.classes)):
        mine = order[source.labels[order] == label]
        chosen.append(mine[: budget.of(mine.numel())])
    return torch.cat([order[:0], *chosen]).sort().values


def manifest(source: Source, rows: Tensor, budget: Budget, seed: int) -> dict[str, Any]:
    """Return what a draw is, plain data: enough to repeat or to check it without the code."""
    labels = source.labels[rows]
    return {
        "train": describe(source),
        "budget": {"ratio": budget.ratio, "shots": budget.shots},
        "seed": seed,
        "recordings": int(rows.numel()),
        "per_class": {name: int((labels == number).sum()) for number, name in enumerate(source.classes)},
        "ids": [source.ids[row] for row in rows.tolist()],
    }


def few_shot(bench: Bench, budgets: Sequence[Budget], folder: Path, *, draws: int = 3) -> None:
    """Add "<view>_few_<budget>/<name>" to the bench's result: means over draws, on all test recordings.

    Args:
        budgets: from "r0.01" (a ratio) to "k5" (shots).
        folder: where manifests and the figures of each draw are kept.
        draws: independent draws of labels; the interval covers the draw and the test items.

    Raises:
        UsageError: a kept file is of another model or other recordings.
    """
    if not bench.classifies("few-shot"):
        return
    assert bench.train is not None
    model = bench.model.digest
    bench.result.choices["few-shot"] = {
        "draws": draws,
        "manifests": folder.name,
        "penalty": PENALTY,
    }
    for budget in budgets:
        measured: list[list[Measurement]] = []
        for number in range(draws):
            seed = bench.seed + number
            rows = draw(bench.train, budget, seed)
            about = {**manifest(bench.train, rows, budget, seed), "test": describe(bench.test), "model": model}
            about |= {"name": bench.name, "windows": bench.windows}
            path = folder / f"{bench.name}-{budget}-seed{seed}.json"
            piece = keep(path, about, partial(_measure, bench, rows, budget, seed))
            measured.append(figures_of(piece))
            for what, reason in piece.plain.get("lacking", []):
                bench.result.lacks(what, [reason])
        shared, some = common(measured)
        bench.result.results += [over_seeds(same) for same in shared]
        for name in some:
            bench.result.lacks(name, ["not every draw of labels has what it needs"])


def penalty(labels: Tensor, classes: int) -> float | None:
    """Return the strength for `fit_probe`: None, chosen by it, where every class has labels (N,) enough to hold out."""
    return None if int(torch.bincount(labels, minlength=classes).min()) >= _ENOUGH else FIXED


def _measure(bench: Bench, rows: Tensor, budget: Budget, seed: int) -> Piece:
    fit, held = bench.features("train"), bench.features("test")
    classes, lacking = len(fit.classes), list[tuple[str, str]]()
    figures: list[Measurement] = []
    allowed = torch.zeros(len(fit), dtype=torch.bool)
    allowed[rows] = True
    for view in bench.model.distinct_views():
        what, asked = f"{view}_few_{budget}", question(fit, held, view, fit.classes, allowed=allowed)
        lacking += [(what, reason) for reason in asked.lacking]
        if not asked.whole:
            continue
        strength = penalty(asked.labels, classes)
        probe = fit_probe(filled(fit, view)[asked.used], asked.labels, classes, seed=seed, strength=strength)
        probability = probe.logits(filled(held, view)[asked.tested]).softmax(-1)
        figures += score(what, bench.name, probability, asked.truth, asked.classes, seed, clips=False)
    return figures_piece(figures, {"lacking": lacking})
