"""Protocol base-novel: classes that were learnt from and classes that were not, told apart by the vectors of names.

A class is a candidate by its vector: of its name, where the model reads words, else the mean of what the test
recordings have in a view of stored texts, each of length 1. Two settings, whose figures differ by tens of points: base
recordings among base classes and novel ones among novel classes (separate), or all among all (generalised, "_all").
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.embedding.extract import Features
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.naming import PLAIN, class_texts
from coview.evaluation.scores import hits
from coview.evaluation.statistics import Measurement, accuracy
from coview.objectives.open_vocabulary import harmonic_mean

if TYPE_CHECKING:
    from coview.model import Model

ALIKE = 0.85  # share of letters in common from which on two names are said to be alike

Scores = Callable[[Tensor], Tensor]  # candidates bool (C,) -> scores (N, C') of them


def base_novel(bench: Bench, novel: Sequence[str], *, text: str = "text", without_alike: bool = False) -> None:
    """Add the accuracy of base and of novel classes and their harmonic mean, separate and generalised.

    With one base or one novel class generalised alone: among its like it is always right.

    "<view>_base/<name>", "_novel" and "_hm", each with "_all" among all classes, of every view that lies in the space
    of the texts, by cosines; "<view>_mixed_..." of what the method itself makes of several (`Method.class_scores`).

    Args:
        novel: names of the classes that were not learnt from.
        text: the view of stored texts; not looked at where the model reads words.
        without_alike: leave out novel classes whose name is like a base class's; they are named in any case.

    Raises:
        UsageError: a novel class is none of the test part's, no class or all are novel, or there are no texts.
    """
    classes, model, features = list(bench.test.classes), bench.model, bench.features("test", "projected")
    is_novel = _marked(classes, novel, bench.test.name)
    text, texts = _texts(bench, features, text)
    told = texts.any(1)
    alike = alike_names([name for name in classes if name not in set(novel)], novel)
    bench.result.choices["base_novel"] = {"novel": list(novel), "alike": alike, "without_alike": without_alike}
    if alike:
        pairs = ", ".join(f"{name} and {other}" for name, other in list(alike.items())[:5])
        what = "were left out" if without_alike else "may have been learnt under the other's (--without-alike)"
        bench.result.notes.append(f"{len(alike)} novel names are like a base name, and {what}: {pairs}")
    bench.result.notes += _doubts(model, classes, novel)
    if without_alike:
        told &= torch.tensor([name not in alike for name in classes])
    alone = [kind for kind, those in (("base", told & ~is_novel), ("novel", told & is_novel)) if int(those.sum()) == 1]
    if alone:
        bench.result.notes.append(f"one {' and one '.join(alone)} class is always right among its like: left out there")
    ends = ("_all",) if alone else ("", "_all")
    for view in model.distinct_views():
        comparable = view != text and features.clips[view].shape[2] == texts.shape[1]
        if comparable and model.method.comparable(view, text):
            _figures(bench, features, view, view, _cosines(features.values[view], texts), told, is_novel, ends)
    own = model.method.class_scores(features.values, features.present, texts[:1], is_novel[:1])
    for view in own:

        def mixed(among: Tensor, view: str = view) -> Tensor:
            return model.method.class_scores(features.values, features.present, texts[among], is_novel[among])[view]

        _figures(bench, features, view, f"{view}_mixed", mixed, told, is_novel, ends)


def alike_names(base: Sequence[str], novel: Sequence[str]) -> dict[str, str]:
    """Return novel name -> the base name that it is most like, where they share most of their letters."""
    plain = {name.lower().replace("_", " "): name for name in base}
    found = {}
    for name in novel:
        near = difflib.get_close_matches(name.lower().replace("_", " "), plain, n=1, cutoff=ALIKE)
        if near:
            found[name] = plain[near[0]]
    return found


def _marked(classes: list[str], novel: Sequence[str], place: str) -> Tensor:
    """Return bool (C,): which classes are novel."""
    for name in novel:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f". It has {', '.join(classes[:5]) or 'none'}"
            raise UsageError(f"--novel: {place} has no class {name!r}{hint}")
    if not novel or len(set(novel)) == len(classes):
        raise UsageError("--novel: name some of the classes, those that the model did not learn from, and not all")
    return torch.tensor([name in novel for name in classes])


def _doubts(model: Model, classes: Sequence[str], novel: Sequence[str]) -> list[str]:
    """Return sentences about classes that a model of labels was not kept from, and about others that it was."""
    met, kept_back = set(getattr(model, "about", {}).get("classes", ())), set(model.method.kept_back())
    found = {
        "novel classes are classes of what the model was trained on, which it was not kept from": [
            name for name in novel if model.method.labelled and name in met - kept_back
        ],
        "classes that the model was kept from count as base": [
            name for name in classes if name in kept_back - set(novel)
        ],
    }
    return [f"{len(names)} {what}: {', '.join(names[:5])}" for what, names in found.items() if names]


def _texts(bench: Bench, features: Features, text: str) -> tuple[str, Tensor]:
    """Return the view of texts and the classes' vectors (C, D), zero where nothing is known of a class."""
    classes, model = list(bench.test.classes), bench.model
    words = next((name for name, spec in model.views.items() if spec.spell("") is not None), None)
    if words is not None:
        found = class_texts(model, classes, PLAIN)
        bench.result.lacks("base_novel", found.lacking)
        return words, torch.where(found.told[:, None], found.vectors, 0.0)
    if text not in features.clips:
        raise UsageError(f"the model reads no words and has no view {text!r} of texts; --text names it")
    known = features.present[text] & (features.labels >= 0)
    sums = torch.zeros(len(classes), features.values[text].shape[1])
    sums.index_add_(0, features.labels[known], normalize(features.values[text][known], dim=1))
    return text, normalize(sums, dim=1)


def _cosines(values: Tensor, texts: Tensor) -> Scores:
    scores = normalize(values, dim=1) @ texts.T
    return lambda among: scores[:, among]


def _figures(
    bench: Bench,
    features: Features,
    view: str,
    what: str,
    scores: Scores,
    told: Tensor,
    novel: Tensor,
    ends: Sequence[str],
) -> None:
    """Add three figures of one way to score classes for each of `ends`: "" among their like, "_all" among all."""
    label = features.labels.clamp(min=0)
    used = features.present[view] & (features.labels >= 0)
    parts = {"base": told & ~novel, "novel": told & novel}
    lacking = [name for name, mine in parts.items() if not bool((used & mine[label]).any())]
    if lacking:
        bench.result.lacks(what, [f"no test recording of a {name} class has this view" for name in lacking])
        return
    for end in ends:
        found = []
        for name, mine in parts.items():
            rows, among = used & mine[label], told if end else mine
            place = torch.cumsum(among, 0) - 1
            right = hits(scores(among)[rows], place[label[rows]], 1)
            found.append(accuracy(f"{what}_{name}{end}/{bench.name}", right, 1 / int(among.sum())))
        bench.result.results += [*found, _together(f"{what}_hm{end}/{bench.name}", *found)]


def _together(name: str, base: Measurement, novel: Measurement) -> Measurement:
    """Return the harmonic mean of two accuracies; its interval, from the ends of theirs, is a little wide."""
    value, low, high, chance = (
        harmonic_mean(float(getattr(base, part) or 0), float(getattr(novel, part) or 0))
        for part in ("value", "low", "high", "chance")
    )
    return Measurement(name, value, low, high, chance, base.n + novel.n)
