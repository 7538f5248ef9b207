"""Protocol zero-shot: the name of a recording's class, among all names, is the nearest text. Nothing is fitted.

With `calibrate` one number is: the scale of the cosines, on the training part.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.embedding.extract import Features
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.calibration import calibration_error, confidences, fitted_scale
from coview.evaluation.naming import ClassTexts, class_texts, named_views, prompts_for
from coview.evaluation.scores import filled, hits, score
from coview.evaluation.several_labels import Marks, mean_precision
from coview.evaluation.statistics import accuracy
from coview.randomness import make_key, uniform

_DEAL = 0x6465616C  # stream of the permuted labels


def zero_shot(
    bench: Bench, prompts: Sequence[str] = (), marks: Marks | None = None, *, calibrate: bool = False,
    permuted: bool = True,
) -> None:  # fmt: skip
    """Add the figures of every view that shares a space with words: cosines in the space where they are compared.

    "<view>_zero_shot/<name>" is the share of test recordings whose class has the nearest name, with "_top5"; where
    recordings have several classes at once, "<view>_zero_shot_map-area/<name>" is the mean average precision of the
    classes. "<view>_zero_shot_ece/<name>" is the error of the confidences under the scale that the model has learnt,
    and its bias where it has one, "_ece_fitted" under that of the training part; of one class each alone. Names that
    the model does not tell apart are left out and named.

    Args:
        prompts: sentences with {} in the place of the name; none: as `naming.prompts_for` chooses.
        marks: of the test recordings, where they have several classes at once.
        calibrate: fit the scale on the training part.
        permuted: also measure "/permuted": the labels of the test recordings dealt out anew.

    Raises:
        UsageError: the model reads no words, the test part has no classes, or the scale would be fitted on the same
            recordings or on other classes.
    """
    classes = list(marks.classes) if marks else list(bench.test.classes)
    if not classes:
        raise UsageError(f"{bench.test.name} has no classes whose names could be told apart")
    views = named_views(bench.model)
    features = bench.features("test", "projected")
    if not views:
        bench.result.lacks("zero_shot", ["no view of this model lies in one space with words"])
    for view in views:
        what, sentences = f"{view}_zero_shot", prompts_for(bench.model, view, prompts)
        texts = class_texts(bench.model, classes, sentences)
        bench.result.lacks(what, texts.lacking)
        bench.result.choices[what] = {
            "space": "projected", "classes": int(texts.told.sum()), "prompts": list(sentences),
            "names": dict(zip(classes, texts.told.tolist(), strict=True)),
        }  # fmt: skip
        if marks:
            if calibrate:
                bench.result.lacks(f"{what}_ece_fitted", ["recordings of several classes at once have no confidences"])
            _several(bench, what, view, features, texts, marks, permuted)
        else:
            _one(bench, what, view, features, texts, calibrate, permuted)


def cosines(features: Features, view: str, texts: ClassTexts, used: Tensor) -> Tensor:
    """Return the cosines (N', W, C) of the used recordings' windows with the names."""
    return normalize(filled(features, view)[used], dim=2) @ texts.vectors.T


def usable(features: Features, view: str, texts: ClassTexts) -> Tensor:
    """Return bool (N,): which recordings have the view and a class whose name says something."""
    used = features.present[view] & (features.labels >= 0)
    return used & texts.told[features.labels.clamp(min=0)]


def _one(
    bench: Bench, what: str, view: str, features: Features, texts: ClassTexts, calibrate: bool, permuted: bool
) -> None:
    """Add the figures of recordings that have one class each."""
    used, count, chosen = usable(features, view, texts), int(texts.told.sum()), bench.result.choices[what]
    chosen["left_out"] = int((~used).sum())
    if not bool(used.any()):
        bench.result.lacks(what, ["no test recording has this view and a class whose name the model knows"])
        return
    scores, truth = cosines(features, view, texts, used), features.labels[used]
    scores[:, :, ~texts.told] = -torch.inf
    bench.result.results += score(what, bench.name, scores, truth, count, bench.seed)
    if permuted:
        dealt = truth[_deal(len(truth), bench.seed)]
        bench.result.results.append(accuracy(f"{what}/permuted", hits(scores.mean(1), dealt, 1), 1 / count))
    learnt = bench.model.method.sureness(view)
    scales: dict[str, tuple[float, float | None]] = {"ece": learnt} if learnt else {}
    if calibrate and bench.classifies(f"{what}_ece_fitted"):
        train = bench.features("train", "projected")
        known = usable(train, view, texts)
        if bool(known.any()):
            kept = torch.cumsum(texts.told, 0) - 1  # the classes that are told, numbered anew
            fit = cosines(train, view, texts, known)[:, :, texts.told].mean(1)
            scales["ece_fitted"] = fitted_scale(fit, kept[train.labels[known]]), None
        else:
            bench.result.lacks(f"{what}_ece_fitted", ["no training recording has this view and a class that is told"])
    for name, (scale, bias) in scales.items():
        chosen[f"scale_{name}"] = scale
        probability = confidences(scale * scores.mean(1) + (bias or 0.0), bias is not None)
        bench.result.results.append(calibration_error(f"{what}_{name}/{bench.name}", probability, truth, bench.seed))


def _several(
    bench: Bench, what: str, view: str, features: Features, texts: ClassTexts, marks: Marks, permuted: bool
) -> None:
    """Add the figures of recordings that have several classes at once."""
    used = features.present[view] & (marks.values[:, texts.told] != 0).any(1)
    bench.result.choices[what]["left_out"] = int((~used).sum())
    truth = marks.values[used][:, texts.told]
    if not bool((truth > 0).any()):
        bench.result.lacks(what, ["no test recording has this view and a class whose name the model knows"])
        return
    scores = cosines(features, view, texts, used)[:, :, texts.told].mean(1)
    rows = {bench.name: truth, **({"permuted": truth[_deal(len(truth), bench.seed)]} if permuted else {})}
    bench.result.results += [mean_precision(what, row, scores, of, "area", bench.seed) for row, of in rows.items()]


def _deal(count: int, seed: int) -> Tensor:
    return torch.argsort(uniform(make_key(seed, torch.arange(count)), _DEAL), stable=True)
