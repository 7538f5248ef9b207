"""The protocols: what is measured of a frozen model, on which recordings, and every choice on the way.

- linear-probe: a linear classifier of each view's backbone features, fitted on the training source.
- knn: the vote of the 20 nearest training recordings, same features.
- retrieval: from one view of a test recording to the other view among all test recordings, and within one view.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coview.data.source import Source
from coview.errors import CoviewError, UsageError
from coview.evaluation.features import Features, Space, extract, fingerprint
from coview.evaluation.knn import knn_predict
from coview.evaluation.probe import average_windows, fit_probe
from coview.evaluation.retrieval import Ranking, rank_classes, rank_pairs
from coview.evaluation.statistics import Measurement, accuracy, bootstrap
from coview.files import write_aside

if TYPE_CHECKING:
    from coview.model import Model

PROTOCOLS = ("linear-probe", "knn", "retrieval")
Progress = Callable[[str, int, int], None]


@dataclass
class Result:
    """What was measured.

    Attributes:
        protocols: which ones were run.
        results: the figures.
        choices: how they were made, plain data, enough to repeat them.
        notes: sentences about what was left out and why.
    """

    protocols: list[str]
    results: list[Measurement]
    choices: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {
            "protocols": self.protocols,
            "results": [measurement.row() for measurement in self.results],
            "choices": self.choices,
            "notes": self.notes,
        }

    def save(self, path: Path) -> None:
        """Write as JSON, aside and then renamed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def evaluate(
    protocols: str | Sequence[str],
    model: Model,
    train: Source | None,
    test: Source,
    *,
    name: str,
    seed: int = 0,
    windows: int = 1,
    batch_size: int = 64,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Measure a model.

    Args:
        protocols: one or several of `PROTOCOLS`.
        model: stays as it is, which a hash of all its tensors before and after proves.
        train: labelled recordings for the classifiers; not looked at by retrieval, which may have None.
        test: recordings that nothing was fitted on.
        name: stands behind the slash in the names of the figures.
        seed: of the held-out fifth and of the bootstrap.
        windows: evenly spaced cuts per recording.
        batch_size: recordings at a time.
        progress: called with (what is being done, done, total).

    Raises:
        UsageError: unknown protocol, or sources that do not fit together.
        CoviewError: the model changed while it was measured.
    """
    wanted = [protocols] if isinstance(protocols, str) else list(protocols)
    for protocol in wanted:
        if protocol not in PROTOCOLS:
            raise UsageError(f"there is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    before = fingerprint(model)
    result = Result(wanted, [], {"test": describe(test), "seed": seed})

    def features(source: Source, what: str, space: Space, count: int) -> Features:
        text = f"embedding {what}"
        return extract(
            model, source, windows=count, space=space, batch_size=batch_size,
            progress=lambda done, total: progress(text, done, total),
        )  # fmt: skip

    if {"linear-probe", "knn"} & set(wanted):
        reason = why_not_classify(train, test)
        if reason or train is None:
            result.notes.append(f"{reason}: {' and '.join(p for p in wanted if p != 'retrieval')} left out")
        else:
            result.choices["train"] = describe(train)
            fit, held = features(train, "train", "backbone", windows), features(test, "test", "backbone", windows)
            for view in model.distinct_views():
                classify(result, wanted, fit, held, view, name, seed)
    if "retrieval" in wanted and not len(model.method.projectors):
        result.notes.append(f"{name} has no common space of its views: retrieval left out")
    elif "retrieval" in wanted:
        found = features(test, "test", "projected", max(windows, 2))
        lengths = {view: test.views[view].seconds for view in model.distinct_views()}
        retrieve(result, found, lengths, name, seed)
    after = fingerprint(model)
    if before != after:
        raise CoviewError("the model's tensors changed while it was measured; the figures are void")
    result.choices["frozen"] = {"sha256_before": before, "sha256_after": after}
    return result


def classify(
    result: Result, wanted: Sequence[str], fit: Features, held: Features, view: str, name: str, seed: int
) -> None:
    """Add the probe's and the neighbours' accuracy on one view to `result`."""
    used, tested = (part.present[view] & (part.labels >= 0) for part in (fit, held))
    labels, truth, classes = fit.labels[used], held.labels[tested], len(fit.classes)
    choices = result.choices.setdefault(view, {})
    choices["space"] = "backbone"
    choices["left_out"] = {"train": int((~used).sum()), "test": int((~tested).sum())}
    if not tested.any():
        result.notes.append(f"no labelled test recording has the view {view!r}: it is not classified")
        return
    counts = torch.bincount(labels, minlength=classes)
    choices["majority_share"] = float((truth == counts.argmax()).double().mean())
    if "linear-probe" in wanted:
        probe = fit_probe(filled(fit, view)[used], labels, classes, seed=seed)
        predicted = average_windows(probe.logits(filled(held, view)[tested])).argmax(1)
        choices["linear-probe"] = probe.choices
        result.results.append(accuracy(f"{view}_probe/{name}", predicted == truth, 1 / classes))
    if "knn" in wanted:
        predicted = knn_predict(fit.values[view][used], labels, held.values[view][tested], classes)
        choices["knn"] = {"neighbours": 20, "similarity": "cosine", "windows": "features averaged"}
        result.results.append(accuracy(f"{view}_knn/{name}", predicted == truth, 1 / classes))


def retrieve(result: Result, features: Features, lengths: Mapping[str, float], name: str, seed: int) -> None:
    """Add all directions of retrieval to `result`.

    Between views (x2y): query i is view x of recording i, the gallery is view y of all recordings that have both. The
    relevant item is recording i (retrieval_*), or any of its class, its own included (class_*).
    Within a view (x2x): for retrieval_*, query i is the first window of recording i and the gallery the last window
    of all, among recordings where the two do not overlap; for class_*, query and gallery are the recordings, and a
    query's own takes no part. `lengths` has a view's seconds.
    """
    views = list(lengths)
    choices = result.choices.setdefault("retrieval", {})
    choices |= {"space": "projected", "similarity": "cosine", "ties": "pessimistic", "gallery": "all test recordings"}
    left_out = choices.setdefault("left_out", {})
    short = {view: "".join(word[0] for word in view.split("_")) for view in views}
    labelled = bool((features.labels >= 0).any())
    if not labelled:
        result.notes.append("no test recording has a label: retrieval by class is left out, retrieval by pair is not")
    for one, other in itertools.product(views, views):
        direction = f"{short[one]}2{short[other]}"
        both = features.present[one] & features.present[other]
        left_out[direction] = int((~both).sum())
        if int(both.sum()) < 2:
            result.notes.append(f"{direction}: fewer than two recordings have what it needs; left out")
            continue
        query, gallery = features.values[one][both], features.values[other][both]
        if one != other:
            result.results += pair_figures(rank_pairs(query, gallery), direction, name, seed)
        else:
            first, last = features.clip_present[one][:, 0], features.clip_present[one][:, -1]
            between = features.start[one][:, -1] - features.start[one][:, 0]
            apart = first & last & (between >= lengths[one])
            if int(apart.sum()) >= 2:
                windows = features.clips[one][apart]
                result.results += pair_figures(rank_pairs(windows[:, 0], windows[:, -1]), direction, name, seed)
            else:
                result.notes.append(f"{direction}: no recordings are as long as two clips; by pair it is left out")
        labels = features.labels[both]
        known = labels >= 0
        if labelled and bool(known.any()):
            ranking = rank_classes(query, gallery, labels, labels, leave_out_own=one == other)
            result.results += class_figures(ranking, known, direction, name)


def pair_figures(ranking: Ranking, direction: str, name: str, seed: int) -> list[Measurement]:
    """Return R@1, R@5, R@10 (share of queries) and the median rank (1 is best)."""
    figures = [accuracy(f"retrieval_{direction}_r{k}/{name}", ranking.hits(k), ranking.chance(k)) for k in (1, 5, 10)]
    low, high = bootstrap(ranking.rank, seed, "median")
    median, n = float(ranking.rank.double().quantile(0.5)), ranking.rank.numel()
    chance = ranking.chance_median()
    return [*figures, Measurement(f"retrieval_{direction}_median_rank/{name}", median, low, high, chance, n)]


def class_figures(ranking: Ranking, known: Tensor, direction: str, name: str) -> list[Measurement]:
    """Return the share of labelled queries whose nearest item, or one of the nearest 5 or 10, has their class."""
    kept = Ranking(ranking.rank[known], ranking.relevant[known], ranking.gallery[known])
    names = {1: f"class_p1_{direction}/{name}", 5: f"class_r5_{direction}/{name}", 10: f"class_r10_{direction}/{name}"}
    return [accuracy(names[k], kept.hits(k), kept.chance(k)) for k in names]


def filled(features: Features, view: str) -> Tensor:
    """Return the clips (N, W, D) of a view, absent windows replaced by the mean of the recording's present ones."""
    present = features.clip_present[view][..., None]
    return torch.where(present, features.clips[view], features.values[view][:, None])


def describe(source: Source) -> dict[str, Any]:
    """Return what identifies a source in a result."""
    return {"name": source.name, "fingerprint": source.fingerprint, "recordings": len(source)}


def why_not_classify(train: Source | None, test: Source) -> str | None:
    """Return why classifiers cannot be fitted and tested on these sources, or None."""
    if train is None:
        return "there is no training part"
    for source in (train, test):
        if not source.classes or not bool((source.labels >= 0).any()):
            return f"{source.name} has no labels"
    if list(train.classes) != list(test.classes):
        raise UsageError(f"{train.name} and {test.name} have different classes; they cannot be compared")
    if train.fingerprint == test.fingerprint:
        raise UsageError(f"{train.name}: training and test part are the same recordings; choose two splits")
    return None
