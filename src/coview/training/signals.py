"""Signs in a run's log of what a loss curve hides: pure functions of the log, which never see the method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

PLATEAU_SHARE = 0.02  # of ln(negatives + 1): this close is chance
PLATEAU_STEPS = 20  # steps before a plateau means anything
COLLAPSE_STEP = 200  # where a young run is looked at
COLLAPSE_WINDOW = 20  # steps whose mean is looked at
LEAST_RANK, LEAST_STD = 1.5, 1e-3  # below these, embeddings are all the same
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


def plateau(log: Sequence[Mapping[str, Any]], negatives: int | None) -> str | None:
    """Return a sentence if the last quarter of a run's log sits at chance: within 2 % of ln(negatives + 1).

    The log's "infonce" is looked at where a method logs it beside a transformed loss, else its "loss". None when all
    is well, when the method has no negatives, or when the run is shorter than 80 steps.
    """
    tail = log[-(len(log) // 4) :]
    if not negatives or len(log) < 4 * PLATEAU_STEPS:
        return None
    values = [entry.get("infonce", entry["loss"]) for entry in tail]
    if any(value is None for value in values):
        return None
    chance, mean = math.log(negatives + 1), sum(values) / len(values)
    if abs(mean - chance) > PLATEAU_SHARE * chance:
        return None
    return (
        f"the run sits at the chance plateau: its loss is {mean:.3f}, and ln({negatives + 1}) = {chance:.3f} is what "
        "guessing costs. The pairs have taught nothing (yet): train longer, raise the learning rate or lower the "
        "temperature, and look at samples/ to see that picture and sound belong together"
    )


def collapse(log: Sequence[Mapping[str, Any]], coupling: str, chance: float | None) -> str | None:
    """Return a sentence if the end of a log shows a collapse, with the setting that usually cures it; else None.

    Signs: embeddings of rank below 1.5 or deviation below .001; fewer than 5 % of the prototypes used; a "variance"
    part above .9, for methods that have VICReg's; for those that assign clusters, a loss within 2 % of `chance`, such
    as ln K, which equal embeddings cost.
    """
    tail = log[-COLLAPSE_WINDOW:]
    signs = []
    looks = [entry for entry in log if any(name.startswith("rank/") for name in entry)]
    for name, value in sorted((looks[-1] if looks else {}).items()):
        kind, _, view = name.partition("/")
        if value is not None and ((kind == "rank" and value < LEAST_RANK) or (kind == "std" and value < LEAST_STD)):
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
        at_chance = chance is not None and abs(means.get("loss", math.inf) - chance) < PLATEAU_SHARE * chance
        if coupling == "assignment" and at_chance:
            signs.append(f"the loss is {means['loss']:.3f}, and {chance:.3f} is what equal embeddings cost")
    if not signs:
        return None
    return f"the embeddings have collapsed: {'; '.join(signs)}. What usually helps: {CURES[coupling]}"
