"""Protocol concepts: does a representation serve classes whose concepts pretraining has hardly seen?

The target's classes are split by their names into seen and unseen concepts (AV-SSRL), or by a list. Then two
independent linear probes, one for each side, and accuracies corrected for chance, since 54 and 47 classes cannot be
compared otherwise: corrected = (accuracy - 1/C) / (1 - 1/C), 0 for guessing and 1 for no error.

The split: for every PRETRAINING class, the three target classes with the most similar names by cosine in each sentence
encoder. Where the first encoder's best similarity exceeds a threshold, the target classes that all encoders have among
their three are seen, except listed outliers. So the direction matters: a target class may be chosen as second or third,
at any similarity of its own. All lists here are in the order of the classes, never of a set.

Each probe's figures are kept as a file of their own: a stopped call goes on where it was.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coview.embedding.extract import Features
from coview.errors import UsageError
from coview.evaluation.bench import Bench, describe
from coview.evaluation.few_shot import PENALTY, Budget, draw, manifest, penalty
from coview.evaluation.measurable import LEAST, question
from coview.evaluation.probe import fit_probe
from coview.evaluation.resume import Piece, digest, figures_of, figures_piece, keep
from coview.evaluation.scores import filled, score
from coview.evaluation.sentences import Sentences
from coview.evaluation.statistics import Measurement

PUBLISHED = ("ucf101", "hmdb51")
TOP, THRESHOLD = 3, 0.47


@dataclass(frozen=True)
class Split:
    """The two sides, each in the order of the target's classes, and how they came about."""

    seen: list[str]
    unseen: list[str]
    choices: dict[str, Any]


def phrase(name: str) -> str:
    """Return a class name as words: split at capitals or underscores, lower case, without punctuation."""
    words = re.findall("[A-Z][a-z]*", name) if re.fullmatch("(?:[A-Z][a-z]*)+", name) else []
    text = " ".join(words) if words else name.replace("_", " ")
    return text.lower().translate(str.maketrans("", "", string.punctuation))


def class_list(name: str) -> dict[str, Any]:
    """Return a stored list with `classes`, `source` and, for "ucf101" and "hmdb51", what the split needs.

    The others are of what is pretrained on: "vggsound", "audioset", "kinetics400".

    Raises:
        UsageError: there is none of that name.
    """
    file = files("coview.data.lists") / f"{name}.json"
    if not re.fullmatch(r"[a-z0-9]+", name) or not file.is_file():
        known = sorted(f.name[:-5] for f in files("coview.data.lists").iterdir() if f.name.endswith(".json"))
        raise UsageError(f"there is no list of classes {name!r}; there are {', '.join(known)}")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def published_split(name: str, classes: Sequence[str]) -> Split:
    """Return the split that AV-SSRL published for a data set with pretraining on VGGSound.

    Raises:
        UsageError: there is none, or `classes` are not those of the data set.
    """
    if name not in PUBLISHED:
        raise UsageError(f"there is no published split of {name!r}; there are {', '.join(PUBLISHED)}")
    stored = class_list(name)
    by_phrase = {phrase(one).replace(" ", ""): one for one in classes}
    wanted = [phrase(one).replace(" ", "") for one in stored["classes"]]
    if sorted(by_phrase) != sorted(wanted):
        raise UsageError(f"the recordings' classes are not the {len(wanted)} of {name}; give lists of your own")
    unseen = {by_phrase[phrase(one).replace(" ", "")] for one in stored["unseen"]}
    return listed_split([one for one in classes if one not in unseen], classes, {"source": stored["source"]})


def listed_split(seen: Sequence[str], classes: Sequence[str], choices: dict[str, Any] | None = None) -> Split:
    """Return the split whose seen side is given.

    Raises:
        UsageError: a name is no class, or a side has fewer than two.
    """
    unknown = [one for one in seen if one not in classes]
    if unknown:
        raise UsageError(f"{', '.join(unknown)}: no such class; there are {', '.join(classes)}")
    inside = [one for one in classes if one in set(seen)]
    outside = [one for one in classes if one not in set(seen)]
    if min(len(inside), len(outside)) < 2:
        raise UsageError(f"each side needs two classes; seen has {len(inside)}, unseen {len(outside)}")
    return Split(inside, outside, choices or {"source": "given list"})


def split_by_names(
    pretraining: Sequence[str],
    classes: Sequence[str],
    encoders: Sequence[Sentences],
    *,
    threshold: float = THRESHOLD,
    outliers: Sequence[str] = (),
) -> Split:
    """Return the split by the names of classes; the threshold applies to the first encoder."""
    queries, targets = [phrase(one) for one in pretraining], [phrase(one) for one in classes]
    similarities = [encode(queries) @ encode(targets).T for encode in encoders]
    best = [similarity.topk(min(TOP, len(classes)), dim=1) for similarity in similarities]
    seen = choose(best[0].values[:, 0], [each.indices for each in best], threshold)
    kept = [one for number, one in enumerate(classes) if number in seen and one not in outliers]
    choices = {
        "source": f"names: the {TOP} nearest of {len(encoders)} sentence encoder(s) for every pretraining class",
        "pretraining_classes": len(pretraining),
        "threshold": threshold,
        "outliers": list(outliers),
    }
    return listed_split(kept, classes, choices)


def choose(best: Tensor, nearest: Sequence[Tensor], threshold: float) -> set[int]:
    """Return the seen target classes, given each query's best similarity (Q,) and nearest targets int64 (Q, 3).

    A query counts where `best` exceeds the threshold; its targets are those in every encoder's nearest.
    """
    found: set[int] = set()
    for row in (best > threshold).nonzero().squeeze(1).tolist():
        found |= set.intersection(*(set(each[row].tolist()) for each in nearest))
    return found


def concepts(bench: Bench, split: Split, folder: Path, budget: Budget | None = None) -> None:
    """Add "<view>_seen/<name>" and "<view>_unseen/<name>", and both "_corrected", to the bench's result.

    Args:
        folder: where the figures of each probe are kept; several splits may share it.
        budget: fit on few labels, drawn as by `few_shot`; figures are then called such as "<view>_seen_r0.2/<name>".
    """
    if not bench.classifies("concepts"):
        return
    assert bench.train is not None
    rows = torch.arange(len(bench.train))
    bench.result.choices["concepts"] = {
        **split.choices,
        "seen": split.seen,
        "unseen": split.unseen,
        "probes": "two, independent, on the same frozen features",
        "corrected": "(accuracy - 1/C) / (1 - 1/C)",
    }
    if budget is not None:
        rows = draw(bench.train, budget, bench.seed)
        labels = manifest(bench.train, rows, budget, bench.seed)
        bench.result.choices["concepts"] |= {"labels": labels, "penalty": PENALTY}
    of: dict[str, Any] = {"train": describe(bench.train), "test": describe(bench.test)}
    of |= {"model": bench.model.digest, "name": bench.name, "windows": bench.windows, "seed": bench.seed}
    of["budget"] = str(budget) if budget else None
    for view in bench.model.distinct_views():
        for side, names in (("seen", split.seen), ("unseen", split.unseen)):
            what, about = "_".join([view, side, *([str(budget)] if budget else [])]), {**of, "classes": names}
            path = folder / f"{bench.name}-{what}-{digest(about)}.json"
            piece = keep(path, about, partial(_probe_side, bench, view, what, names, rows))
            figures, classes = figures_of(piece), piece.plain.get("learnt", len(names))
            bench.result.results += figures + [corrected(m, classes) for m in figures[:1]]
            bench.result.choices |= piece.plain["choices"]
            bench.result.lacks(what, piece.plain.get("lacking", piece.plain.get("notes", [])))


def _probe_side(bench: Bench, view: str, what: str, names: Sequence[str], rows: Tensor) -> Piece:
    fit, held = bench.features("train"), bench.features("test")
    few = rows.numel() < len(fit)
    asked = question(
        fit, held, view, names, allowed=torch.isin(fit.rows, rows), least=0 if few else LEAST,
        labels=(_relabelled(fit, names), _relabelled(held, names)),
    )  # fmt: skip
    if not asked.whole:
        return Piece({"results": [], "choices": {}, "lacking": asked.lacking})
    strength = penalty(asked.labels, len(names)) if few else None
    probe = fit_probe(filled(fit, view)[asked.used], asked.labels, len(names), seed=bench.seed, strength=strength)
    probability = probe.logits(filled(held, view)[asked.tested]).softmax(-1)
    figures = score(what, bench.name, probability, asked.truth, asked.classes, bench.seed)
    return figures_piece(figures, {"choices": {what: probe.choices}, "lacking": asked.lacking, "learnt": asked.classes})


def _relabelled(features: Features, names: Sequence[str]) -> Tensor:
    """Return labels (N,) in the order of `names`, -1 for recordings of other classes."""
    number = {name: index for index, name in enumerate(names)}
    table = torch.tensor([number.get(name, -1) for name in features.classes] + [-1])
    return table[features.labels]


def corrected(measurement: Measurement, classes: int) -> Measurement:
    """Return an accuracy corrected for chance, interval included."""
    what, _, name = measurement.name.partition("/")
    assert measurement.low is not None and measurement.high is not None
    guess = 1 / classes

    def correct(value: float) -> float:
        return (value - guess) / (1 - guess)

    items = None if measurement.items is None else (measurement.items.double() - guess) / (1 - guess)
    return Measurement(
        f"{what}_corrected/{name}", correct(measurement.value), correct(measurement.low), correct(measurement.high),
        0.0, measurement.n, items=items,
    )  # fmt: skip
