"""What can be measured, by one rule: a view or class that lacks recordings is left out and named; the rest goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from coview.embedding.extract import Features
from coview.evaluation.statistics import Measurement

LEAST = 10  # labelled training recordings, below which a penalty cannot be chosen among them
NAMED = 5  # classes named in a sentence


@dataclass(frozen=True)
class Question:
    """What a classifier of one view can learn from and be asked.

    Attributes:
        used: bool (N,), labelled training recordings with the view.
        tested: bool (M,), labelled test recordings with the view, of classes that were learnt.
        labels: int64 (N',), of the used ones; `truth`: int64 (M',), of the tested ones.
        classes: how many there are, without those left out: guessing is right once in so many times.
        lacking: why something was left out, or everything; plain sentences.
        whole: there are two classes to tell apart and something to ask.
    """

    used: Tensor
    tested: Tensor
    labels: Tensor
    truth: Tensor
    classes: int
    lacking: list[str]
    whole: bool

    def left_out(self) -> dict[str, int]:
        """Return how many recordings of each part take no part."""
        return {"train": int((~self.used).sum()), "test": int((~self.tested).sum())}


def question(
    fit: Features,
    held: Features,
    view: str,
    names: Sequence[str],
    *,
    allowed: Tensor | None = None,
    labels: tuple[Tensor, Tensor] | None = None,
    least: int = 0,
) -> Question:
    """Return what can be asked of a view; `Question.whole` is False where that is nothing.

    Args:
        fit, held: features of the training and the test part.
        view: name of the features.
        names: of the classes.
        allowed: bool (N,), training recordings whose labels may be used; all of them by default.
        labels: other labels of the two parts than their own.
        least: training recordings without which nothing can be learnt.
    """
    given, truth = labels or (fit.labels, held.labels)
    used, tested = fit.present[view] & (given >= 0), held.present[view] & (truth >= 0)
    if allowed is not None:
        used = used & allowed
    known = torch.bincount(given[used], minlength=len(names)) > 0
    lacking = []
    if not bool(tested.any()):
        lacking.append(f"no labelled test recording has {view!r}")
    if int(known.sum()) < 2:
        lacking.append(f"labelled training recordings with {view!r} are of {int(known.sum())} classes, not of two")
    elif int(used.sum()) < least:
        lacking.append(f"{int(used.sum())} labelled training recordings have {view!r}; at least {least} are needed")
    whole = not lacking
    strange = torch.zeros_like(tested)
    strange[tested] = ~known[truth[tested]]
    missing = [names[label] for label in torch.unique(truth[strange]).tolist()]
    if whole and missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        lacking.append(
            f"no training recording of {', '.join(missing[:NAMED])}{more} has {view!r}: "
            f"{int(strange.sum())} test recordings are left out"
        )
    tested = tested & ~strange
    whole = whole and bool(tested.any())
    return Question(used, tested, given[used], truth[tested], len(names) - len(missing), lacking, whole)


def common(groups: Sequence[Sequence[Measurement]]) -> tuple[list[list[Measurement]], list[str]]:
    """Return every figure that all groups (seeds, folds, draws) hold, once for each, and the names of the others."""
    by_name = [{m.name: m for m in group} for group in groups]
    names = dict.fromkeys(name for group in by_name for name in group)
    shared = [name for name in names if all(name in group for group in by_name)]
    return [[group[name] for group in by_name] for name in shared], [name for name in names if name not in shared]


def telling(k: int, of: int) -> bool:
    """Tell whether "among the first k of so many" says anything: guessing is right in two of three cases at most."""
    return 3 * k <= 2 * of
