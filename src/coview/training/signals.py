"""Signs in a run's log of what a loss curve hides: pure functions of the log, which never see the method.

Here alone is said what a plateau is, and what a collapse is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

PLATEAU_SHARE = 0.02  # of the chance loss: this close is chance
PLATEAU_STEPS = 20  # steps before a plateau means anything
COLLAPSE_STEP = 200  # where a young run is looked at
COLLAPSE_WINDOW = 20  # steps whose mean is looked at
LEAST_RANK, LEAST_RANK_SHARE = 3.0, 0.25  # a space of D dimensions has collapsed below 1 + min(2, (D - 1) / 4)
LEAST_STD = 1e-3  # below this, embeddings are all the same
LEAST_USED = 0.05  # share of the prototypes
MOST_VARIANCE = 0.9  # of a variance part, which is 1 where the embeddings do not spread and 0 where they do
LOOKED_BACK = 4 * PLATEAU_STEPS  # steps of the log that `plateau` and `collapse` need

# What usually cures a collapse, by how the loss ties samples together.
CURES = {
    "none": "lower optimiser.lr or set optimiser.clip_gradient",
    "negatives": "raise train.batch_size (more negatives), lower optimiser.lr, look at samples/ for constant views",
    "statistics": "raise the weight of the variance part, or train.batch_size, which its statistics need",
    "bank": "raise the number of negatives, lower optimiser.lr, look at samples/ for constant views",
    "assignment": "lower method.epsilon (0.03), freeze the prototypes longer (method.freeze), keep batch normalisation "
    "in the head, or weaken the augmentation (larger crops) so that crops share enough",
}


def at_chance(loss: float, chance: float | None) -> bool:
    """Tell whether a loss is within 2 % of what guessing costs; False where there is no such number."""
    return chance is not None and abs(loss - chance) < PLATEAU_SHARE * chance


def least_rank(dim: int) -> float:
    """Return the effective rank below which a space of `dim` dimensions has collapsed.

    A healthy space of two dimensions has a rank near 2, a line has 1 and cannot collapse in rank; of nine and more
    dimensions, all but two unused are a collapse.
    """
    return min(LEAST_RANK, 1 + LEAST_RANK_SHARE * (dim - 1))


def plateau(log: Sequence[Mapping[str, Any]], negatives: int | None) -> str | None:
    """Return a sentence if the last quarter of a run's log sits at chance: within 2 % of ln(negatives + 1).

    The log's "infonce" is looked at where a method logs it beside a transformed loss, else its "loss"; idle steps are
    left out. None when all is well, when the method has no negatives, or when fewer than 80 steps have learnt.
    """
    learnt = [entry for entry in log if entry.get("infonce", entry["loss"]) is not None]
    if not negatives or len(learnt) < 4 * PLATEAU_STEPS:
        return None
    values = [entry.get("infonce", entry["loss"]) for entry in learnt[-(len(learnt) // 4) :]]
    chance, mean = math.log(negatives + 1), sum(values) / len(values)
    if not at_chance(mean, chance):
        return None
    return (
        f"the run sits at the chance plateau: its loss is {mean:.3f}, and ln({negatives + 1}) = {chance:.3f} is what "
        "guessing costs. The pairs have taught nothing (yet): train longer, raise the learning rate or lower the "
        "temperature, and look at samples/ to see that picture and sound belong together"
    )


def collapse(
    log: Sequence[Mapping[str, Any]], coupling: str, chance: float | None, dims: Mapping[str, int] | None = None
) -> str | None:
    """Return a sentence if the end of a log shows a collapse, with the setting that usually cures it; else None.

    Signs: embeddings of a rank below `least_rank` of their dimension, or of a deviation below .001; fewer than 5 % of
    the prototypes used; a "variance" part above .9, for methods that have VICReg's; for those that assign clusters, a
    loss within 2 % of `chance`, such as ln K, which equal embeddings cost.

    Args:
        dims: dimensions that each view's embeddings could fill: those of the space, or one less than the samples that
            were looked at; a view that is not named here counts as having three.
    """
    tail = [entry for entry in log if entry["loss"] is not None][-COLLAPSE_WINDOW:]
    signs = []
    looks = [entry for entry in log if any(name.startswith("rank/") for name in entry)]
    for name, value in sorted((looks[-1] if looks else {}).items()):
        kind, _, view = name.partition("/")
        limit = {"rank": least_rank((dims or {}).get(view, 3)), "std": LEAST_STD}.get(kind)
        if value is not None and limit is not None and value < limit:
            what = "effective rank" if kind == "rank" else "deviation"
            signs.append(f"the {what} of {view}'s embeddings is {value:.2g}")
    if len(tail) == COLLAPSE_WINDOW:
        means = {
            name: sum(entry[name] for entry in tail) / len(tail)
            for name in ("loss", "used", "variance")
            if all(entry.get(name) is not None for entry in tail)
        }
        if means.get("used", 1.0) < LEAST_USED:
            signs.append(f"{means['used']:.1%} of the prototypes are used")
        if coupling == "statistics" and means.get("variance", 0.0) > MOST_VARIANCE:
            signs.append(f"the variance part is {means['variance']:.2f}, and 1 is what equal embeddings cost")
        if coupling == "assignment" and at_chance(means.get("loss", math.inf), chance):
            signs.append(f"the loss is {means['loss']:.3f}, and {chance:.3f} is what equal embeddings cost")
    if not signs:
        return None
    return f"the embeddings have collapsed: {'; '.join(signs)}. What usually helps: {CURES[coupling]}"


def still(log: Sequence[Mapping[str, Any]]) -> str | None:
    """Return a sentence if the loss was exactly one number in the last 20 steps that learnt, whose batches differ."""
    losses = [entry["loss"] for entry in log if entry["loss"] is not None][-COLLAPSE_WINDOW:]
    if len(losses) < COLLAPSE_WINDOW or len(set(losses)) > 1:
        return None
    return (
        f"the loss was exactly {losses[-1]:g} in each of the last {COLLAPSE_WINDOW} steps: nothing is learnt any more. "
        "Either the task is solved to the last digit, or the views have become constant"
    )
