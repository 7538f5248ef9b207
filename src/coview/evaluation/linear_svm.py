"""Protocol image-transfer, one linear support vector machine for each class, as on VOC2007, and from few positives.

Goyal, Mahajan, Gupta & Misra, "Scaling and benchmarking self-supervised visual representation learning", ICCV 2019
(arXiv 1905.01235), section 6.1 and supplement: features of length 1, liblinear's squared hinge with positives counted
twice, the cost of each class chosen by three-fold average precision ("step") on the training part. Reported is "area",
as there, and VOC2007's own "11-point".
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from torch import Tensor

from coview.embedding.extract import Features
from coview.errors import UsageError
from coview.evaluation.average_precision import Definition, average_precision
from coview.evaluation.bench import Bench
from coview.evaluation.scores import filled
from coview.evaluation.several_labels import Marks, mean_precision
from coview.evaluation.stages import stages_of
from coview.evaluation.statistics import Measurement, over_seeds
from coview.randomness import make_key, uniform

EPSILON = 1e-5  # added to the length that features are divided by
COSTS = tuple(10.0**power for power in range(-7, 3)) + tuple(0.5**power for power in range(4, 20))
SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)
DRAWS = 5
DEFINITIONS: tuple[Definition, ...] = ("area", "11-point")
FIXED = 1.0  # cost where there are too few positives for three folds
_FOLDS, _ITERATIONS = 3, 2000
_DRAWN = 0x73686F74  # stream of the draws of positives


@dataclass(frozen=True, kw_only=True)
class LinearSVM:
    """How the machines are fitted.

    Attributes:
        stages: as for the linear probe; none: the encoder's own features.
        costs: tried for each class.
        shots: positives of each class that are learnt from, each of five draws; none: all of the training part.
    """

    stages: tuple[str, ...] = ()
    costs: tuple[float, ...] = COSTS
    shots: tuple[int, ...] = ()


def linear_svm(bench: Bench, view: str, fit: Marks, held: Marks, how: LinearSVM) -> None:
    """Add "<view>_svm_map-<definition>/<name>", with "@<stage>" behind svm for stages, and "_k<shots>" for few.

    Args:
        fit, held: of the recordings of the training and of the test part.

    Raises:
        UsageError: a stage cannot be read, no test recording is of any class, or the parts have other classes or are
            the same recordings.
    """
    if fit.classes != held.classes:
        raise UsageError("the training and the test part have different classes; they cannot be compared")
    if bench.train is not None and bench.train.fingerprint == bench.test.fingerprint:
        raise UsageError(f"{bench.test.name}: training and test part are the same recordings; choose two splits")
    stages = stages_of(bench.model, view, how.stages)
    parts: dict[str, tuple[Features, Features, str]] = {}
    if how.stages:
        fitted, tested = bench.features("train", stages={view: stages}), bench.features("test", stages={view: stages})
        parts = {f"{view}_svm@{stage.name}": (fitted, tested, f"{view}/{stage}") for stage in stages}
    else:
        parts = {f"{view}_svm": (bench.features("train"), bench.features("test"), view)}
    if not parts:
        bench.result.lacks(f"{view}_svm", [f"the encoder has none of the stages {', '.join(how.stages)}"])
    for what, (fitted, tested, name) in parts.items():
        used, asked = fitted.present[name], tested.present[name]
        x, y = of_unit_length(filled(fitted, name).mean(1)[used]), fit.values[used]
        test_x, truth = of_unit_length(filled(tested, name).mean(1)[asked]), held.values[asked]
        lacking = [kind for kind, mark in zip(fit.classes, y.T, strict=True) if not {-1, 1} <= set(mark.tolist())]
        bench.result.lacks(what, [f"{kind}: no clear training recording of and not of it" for kind in lacking])
        kept = torch.tensor([kind not in lacking for kind in fit.classes])
        y, truth = y[:, kept], truth[:, kept]
        if not len(test_x) or not bool(kept.any()):
            bench.result.lacks(what, ["there is nothing to fit or to test"])
            continue
        choices = bench.result.choices.setdefault(what, {})
        choices |= {"left_out": {"train": int((~used).sum()), "test": int((~asked).sum())}, **_protocol(how)}
        for shots in how.shots or (None,):
            _measure(bench, what, x, y, test_x, truth, shots, how)


def _measure(
    bench: Bench, what: str, x: Tensor, y: Tensor, test_x: Tensor, truth: Tensor, shots: int | None, how: LinearSVM
) -> None:
    figures: dict[Definition, list[Measurement]] = {definition: [] for definition in DEFINITIONS}
    called = what if shots is None else f"{what}_k{shots}"
    chosen = []
    for draw in range(1 if shots is None else DRAWS):
        seed = bench.seed if shots is None else int(make_key(bench.seed, draw))
        scores, costs = [], []
        for number, mark in enumerate(y.T):
            rows = (mark != 0).nonzero()[:, 0] if shots is None else few(mark, shots, seed, number)
            cost = best_cost(x[rows], mark[rows], how.costs)
            scores.append(decide(x[rows], mark[rows], test_x, cost))
            costs.append(cost)
        chosen.append(costs)
        for definition, found in figures.items():
            found.append(mean_precision(called, bench.name, torch.stack(scores, 1), truth, definition, bench.seed))
    for found in figures.values():
        bench.result.results.append(over_seeds(found))
    about: dict[str, object] = {"of_each_class": chosen}
    if shots:
        about["deviation_over_draws"] = {
            name: float(torch.tensor([m.value for m in found]).std()) for name, found in figures.items()
        }
    bench.result.choices[what].setdefault("costs", {})[str(shots or "all")] = about


def of_unit_length(features: Tensor) -> Tensor:
    """Return features (N, D) divided by their length + 1e-5: what is zero stays zero."""
    length: Tensor = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    return features / (length + EPSILON)


def best_cost(x: Tensor, mark: Tensor, costs: Sequence[float] = COSTS) -> float:
    """Return the cost with the highest mean average precision over three folds, the smallest of several.

    With fewer than three recordings of either kind it is 1: there is nothing to choose by.

    Args:
        x: (N, D); `mark`: (N,) of 1 and -1.
    """
    if min(int((mark > 0).sum()), int((mark < 0).sum())) < _FOLDS:
        return FIXED
    folds = list(StratifiedKFold(_FOLDS).split(x.numpy(), mark.numpy()))
    found = {}
    for cost in costs:
        values = []
        for rows, others in folds:
            scores = decide(x[rows], mark[rows], x[others], cost)
            values.append(average_precision(scores, mark[others], "step"))
        found[cost] = sum(values) / len(values)
    return max(sorted(found), key=lambda cost: found[cost])


def decide(x: Tensor, mark: Tensor, asked: Tensor, cost: float) -> Tensor:
    """Return the decision values float64 (M,) of recordings asked (M, D), of a machine fitted on x (N, D)."""
    machine = LinearSVC(
        C=cost, class_weight={1: 2.0, -1: 1.0}, intercept_scaling=1.0, loss="squared_hinge", dual=True, tol=1e-4,
        max_iter=_ITERATIONS, random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 2000 iterations are the protocol's
        machine.fit(x.double().numpy(), mark.numpy())
    values: Tensor = torch.from_numpy(np.asarray(machine.decision_function(asked.double().numpy())))
    return values


def few(mark: Tensor, shots: int, seed: int, number: int) -> Tensor:
    """Return the rows (int64, ascending) of `shots` positives of a class and of as many negatives for each of them as
    there are in all of the training part; a larger draw holds the smaller ones of its seed.
    """
    order = torch.argsort(uniform(make_key(seed, number, torch.arange(len(mark))), _DRAWN), stable=True)
    good, bad = order[mark[order] > 0], order[mark[order] < 0]
    share = shots / max(len(good), 1)
    negatives = max(1, round(share * len(bad))) if share < 1 else len(bad)
    return torch.cat([good[:shots], bad[:negatives]]).sort().values


def _protocol(how: LinearSVM) -> dict[str, object]:
    return {
        "classifier": f"LinearSVC of each class, squared hinge, positives twice, at most {_ITERATIONS} iterations",
        "features": "divided by their length + 1e-5; of several windows the mean",
        "cost": f"by three-fold average precision (step) on the training part, {len(how.costs)} tried; "
        f"{FIXED} where a class has fewer than three positives",
        "few": f"k positives and as many negatives for each as in the whole part, {DRAWS} draws" if how.shots else "no",
        "unclear": "recordings whose mark of a class is 0 are left out of it, in training and in test",
    }
