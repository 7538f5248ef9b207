"""Watchers: they read `Step` and the log, never the method, and say what a loss curve hides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coview.data.source import Source
from coview.data.views import Batch
from coview.methods.contract import Step
from coview.parallel import gather, rank, world_size
from coview.randomness import mix

if TYPE_CHECKING:
    from coview.model import Model

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


@torch.no_grad()
def look(step: Step) -> dict[str, float]:
    """Return for every view the mean over dimensions of the standard deviation, and the effective rank.

    Over the samples of all processes. A deviation near 0, or a rank near 1, is collapse.
    """
    values = {}
    for view, local in sorted(step.embeddings.items()):
        embeddings = gather(local.float())
        if embeddings.shape[0] < 2:
            continue
        values[f"std/{view}"] = float(embeddings.std(0).mean())
        values[f"rank/{view}"] = effective_rank(embeddings)
    return values


def effective_rank(embeddings: Tensor) -> float:
    """Return exp of the entropy of the normalised singular values of centred (N, D); from 1 to min(N - 1, D).

    Roy & Vetterli, "The effective rank", EUSIPCO 2007. What is constant has rank 1.
    """
    centred = (embeddings - embeddings.mean(0)).double()
    # The Gram matrix of the shorter side has the squared singular values.
    gram = centred @ centred.T if centred.shape[0] <= centred.shape[1] else centred.T @ centred
    sizes = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = sizes.sum()
    if float(total) <= 1e-12 * max(1.0, float(embeddings.abs().max())):
        return 1.0
    share = sizes / total
    return float(torch.exp(-(share * share.clamp(min=1e-300).log()).sum()))


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


def unwell(step: Step, batch: Batch) -> str:
    """Say, on every process alike, which ranks' losses are not finite and which recordings (rows) were in them.

    Rows whose view or embedding is not finite are named; all rows of the rank where neither tells.
    """
    losses = gather(step.loss.detach().float().reshape(1)).tolist()
    bad = torch.zeros(len(batch), dtype=torch.bool, device=batch.row.device)
    for tensor in batch.views.values():
        if tensor.is_floating_point():
            bad |= ~torch.isfinite(tensor.flatten(1)).all(1)
    where = "whose input is not finite"
    inputs_well = not bool(gather(bad.to(torch.uint8)).any())
    if inputs_well:
        where = "of the batch"
        for tensor in step.embeddings.values():
            if tensor.shape[0] == len(batch):
                bad |= ~torch.isfinite(tensor.flatten(1)).all(1)
    # A loss can overflow although every sample is well; then all of the rank's samples are named.
    if inputs_well and not bool(bad.any()) and not math.isfinite(losses[rank()]):
        bad[:] = True
    owner = gather(torch.full_like(batch.row, rank())[bad]).tolist()
    rows = gather(batch.row[bad]).tolist()
    named = []
    for number in range(world_size()):
        if number in owner or not math.isfinite(losses[number]):
            own = [row for row, whose in zip(rows, owner, strict=True) if whose == number]
            named.append(f"rank {number}: loss {losses[number]}, rows {own} {where}")
    return "; ".join(named)


def knn(model: Model, source: Source, batch_size: int, limit: int = 1000) -> dict[str, float]:
    """Return for every view how often the 5 nearest neighbours vote for the right label, on training recordings.

    Of at most `limit` recordings, drawn once and for all, one half asks and the other votes. It watches; a protocol's
    figure comes from `coview evaluate`. Nothing is returned without labels.
    """
    from coview.evaluation.features import extract
    from coview.evaluation.knn import knn_predict

    labelled = torch.nonzero(source.labels >= 0).flatten()
    if labelled.numel() < 4 or not source.classes:
        return {}
    # Hashed: labels may well repeat along the rows.
    rows = labelled[torch.argsort(mix(labelled))[:limit]].sort().values
    features = extract(model, source, space="projected", batch_size=batch_size, rows=rows)
    values = {}
    for view, embeddings in features.values.items():
        there = features.present[view]
        ask = there & (mix(rows) & 1 == 0)
        vote = there & ~ask
        if bool(ask.any()) and bool(vote.any()):
            labels = features.labels
            predicted = knn_predict(embeddings[vote], labels[vote], embeddings[ask], len(source.classes), neighbours=5)
            values[f"knn/{view}"] = float((predicted == labels[ask]).double().mean())
    return values
