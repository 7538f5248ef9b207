"""Protocol analysis, ensembles: what two frozen models know of the classes together, beside what each knows alone.

Two ways: the mean of both models' probabilities, and machines fitted on both models' features, each of length 1, side
by side. Machines are those of `linear_svm`, with fewer costs. Margins of different machines are not on one scale, and
the loudest would win: Platt's sigmoid, fitted on margins of held-out folds of the training part, makes them
probabilities first (Platt, "Probabilistic outputs for support vector machines", 1999, with his targets; never falling,
so that no machine alone ranks otherwise than by its margins).

Such ensembles are in Wang & Gupta, ICCV 2015 (arXiv 1505.00687), and Joulin et al., ECCV 2016 (arXiv 1511.02251).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from coview.embedding.extract import Features
from coview.errors import UsageError
from coview.evaluation.average_precision import Definition
from coview.evaluation.bench import Bench, weights_of
from coview.evaluation.linear_svm import best_cost, decide, of_unit_length
from coview.evaluation.scores import filled
from coview.evaluation.several_labels import Marks, mean_precision, precisions, resampled_precisions
from coview.evaluation.statistics import Measurement
from coview.randomness import make_key, uniform

COSTS = tuple(10.0**power for power in range(-5, 2))
DEFINITION: Definition = "area"
_FOLDS = 3
_PERMUTED = 0x7065726D  # stream of the control
_LEAST = 1e-6  # of a sigmoid's slope


def ensemble(
    base: Bench,
    view: str,
    member: Bench,
    member_view: str,
    fit: Marks,
    held: Marks,
    name: str,
    costs: Sequence[float] = COSTS,
) -> None:
    """Add to the base's result "ensemble_base_map-area/<name>", "_member", "_mean" and "_joined", "ensemble_mean_gain"
    and "ensemble_joined_gain" over the base, and "ensemble_error_correlation".

    A gain's interval is over resampled recordings, the same for both. The correlation is Pearson's of probability minus
    truth, over recordings and classes: members that err alike gain almost nothing. Recordings that one model has no
    features of are left out, and so are classes with fewer than three clear recordings of either kind to learn from, or
    with none to be asked; they are listed.

    Args:
        view, member_view: whose features are taken of each.
        fit, held: of the base's recordings of the training and of the test part.
        costs: of machines, tried for each class.

    Raises:
        UsageError: both are one model, they are measured on other recordings or classes, the training and the test part
            are the same, a model has no such view, or nothing can be fitted.
    """
    check_pair(base, member, fit, held)
    parts = []
    both: tuple[tuple[Literal["train", "test"], Marks], ...] = (("train", fit), ("test", held))
    for part, marks in both:
        found, beside = base.features(part), member.features(part)
        rows, others = matched(found, view, beside, member_view)
        features = [filled(found, view).mean(1)[rows], filled(beside, member_view).mean(1)[others]]
        parts.append(([of_unit_length(each) for each in features], marks.values[rows], len(found) - len(rows)))
    (learnt, y, left), (asked, truth, out) = parts
    lacking = [kind for kind, mark in zip(fit.classes, y.T, strict=True) if _too_few(mark)]
    base.result.lacks(
        "ensemble", [f"{kind}: fewer than {_FOLDS} training recordings of it or of others" for kind in lacking]
    )
    asked_of = (truth > 0).any(0)
    unasked = [kind for kind, there in zip(fit.classes, asked_of.tolist(), strict=True) if not there]
    kept = torch.tensor([kind not in lacking for kind in fit.classes]) & asked_of
    if not bool(kept.any()):
        raise UsageError(f"{base.test.name}: no class has {_FOLDS} recordings to learn from and one to be asked")
    y, truth = y[:, kept], truth[:, kept]
    told: dict[str, Tensor] = {}
    chosen: dict[str, list[float]] = {}
    sides = {"base": (learnt[0], asked[0]), "member": (learnt[1], asked[1])}
    sides["joined"] = of_unit_length(torch.cat(learnt, 1)), of_unit_length(torch.cat(asked, 1))
    for number, (what, (x, test_x)) in enumerate(sides.items()):
        made = [probabilities(x, mark, test_x, costs) for mark in y.T]
        told[what], chosen[what] = torch.stack([values for values, _ in made], 1), [cost for _, cost in made]
        base.progress("fitting machines", number + 1, len(sides))
    told["mean"] = mean_score([told["base"], told["member"]])
    for what in ("base", "member", "mean", "joined"):
        figure = mean_precision(f"ensemble_{what}", name, told[what], truth, DEFINITION, base.seed)
        base.result.results.append(figure)
    for what in ("mean", "joined"):
        base.result.results.append(gain(f"ensemble_{what}_gain/{name}", told[what], told["base"], truth, base.seed))
    together = error_correlation(told["base"], told["member"], truth)
    if together is None:
        base.result.lacks("ensemble_error_correlation", ["the errors of one model are all alike"])
    else:
        figure = Measurement(f"ensemble_error_correlation/{name}", together, None, None, None, len(truth))
        base.result.results.append(figure)
    base.result.choices[f"ensemble/{name}"] = {
        "views": [view, member_view], "member": weights_of(member.model), "left_out": {"train": left, "test": out},
        "without_a_test_recording": unasked,
        "cost": {"tried": costs, "of_each_class": chosen, "chosen_by": f"average precision (step) of {_FOLDS} folds"},
        "calibrated": f"Platt's sigmoid on margins of {_FOLDS} held-out folds of the training part",
        "joined": "features of length 1 side by side, brought to length 1, machines fitted anew",
    }  # fmt: skip


def check_pair(base: Bench, member: Bench, fit: Marks, held: Marks) -> None:
    """Raise UsageError where two models are one, or are not measured on the same recordings and classes."""
    if base.model.digest == member.model.digest:
        raise UsageError("both models have the same weights: an ensemble needs two models; name another by --with")
    assert base.train is not None and member.train is not None
    for one, other in ((base.train, member.train), (base.test, member.test)):
        if one.fingerprint != other.fingerprint:
            raise UsageError(f"{one.name} and {other.name} are other recordings; measure both models on one collection")
    if fit.classes != held.classes:
        raise UsageError("the training and the test part have different classes; they cannot be compared")
    if base.train.fingerprint == base.test.fingerprint:
        raise UsageError(f"{base.test.name}: training and test part are the same recordings; choose two splits")


def matched(one: Features, view: str, other: Features, other_view: str) -> tuple[Tensor, Tensor]:
    """Return the places int64 (N,) in both of the recordings that have features in both, in the order of the first.

    Raises:
        UsageError: there are none.
    """
    there = {name: place for place, name in enumerate(other.ids) if bool(other.present[other_view][place])}
    pairs = [(place, there[name]) for place, name in enumerate(one.ids) if name in there and one.present[view][place]]
    if not pairs:
        raise UsageError(f"no recording has both {view!r} of the first model and {other_view!r} of the second")
    places = torch.tensor(pairs)
    return places[:, 0], places[:, 1]


def probabilities(x: Tensor, mark: Tensor, asked: Tensor, costs: Sequence[float] = COSTS) -> tuple[Tensor, float]:
    """Return the probability of a class float64 (M,) for `asked` (M, D), and the machine's cost.

    Args:
        x: (N, D); `mark`: (N,) of 1, -1 and 0, unclear ones being left out; three at least of each kind.
    """
    x, mark = x[mark != 0], mark[mark != 0]
    cost = best_cost(x, mark, costs)
    margins = torch.zeros(len(x), dtype=torch.float64)
    for rows, others in StratifiedKFold(_FOLDS).split(x.numpy(), mark.numpy()):
        margins[others] = decide(x[rows], mark[rows], x[others], cost)
    slope, offset = platt(margins, mark)
    return (slope * decide(x, mark, asked, cost) + offset).sigmoid(), cost


def platt(margins: Tensor, mark: Tensor) -> tuple[float, float]:
    """Return slope and offset of the sigmoid that makes margins (N,) probabilities of mark 1, (N,) of 1 and -1.

    The targets are (P + 1) / (P + 2) and 1 / (N + 2), for P recordings of the class and N others. The slope is above 0.
    """
    good = mark.numpy() > 0
    target = np.where(good, (good.sum() + 1) / (good.sum() + 2), 1 / ((~good).sum() + 2))
    values = margins.double().numpy()

    def cost(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = line[0] * values + line[1]
        # log(1 + e^z) - t z is the log loss of the target t.
        wrong = np.exp(-np.logaddexp(0, -logit)) - target
        return float((np.logaddexp(0, logit) - target * logit).sum()), np.array([wrong @ values, wrong.sum()])

    found = minimize(cost, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(_LEAST, None), (None, None)])
    return float(found.x[0]), float(found.x[1])


def mean_score(scores: Sequence[Tensor]) -> Tensor:
    """Return the mean of several models' scores, which have one shape and one scale."""
    return torch.stack(list(scores)).mean(0)


def gain(name: str, scores: Tensor, base: Tensor, marks: Tensor, seed: int) -> Measurement:
    """Return by how much the mean average precision of scores (N, C) is above that of `base`; chance is 0."""
    value = precisions(scores, marks, DEFINITION).mean() - precisions(base, marks, DEFINITION).mean()
    drawn = [resampled_precisions(each, marks, DEFINITION, seed) for each in (scores, base)]
    ends = (drawn[0] - drawn[1]).nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return Measurement(name, float(value), float(ends[0]), float(ends[1]), 0.0, len(scores), signed=True)


def error_correlation(one: Tensor, other: Tensor, marks: Tensor) -> float | None:
    """Return Pearson's correlation of two models' errors, probability (N, C) minus truth, over what is clear.

    None where the errors of one are all alike, or there is one alone.
    """
    clear, truth = marks != 0, (marks > 0).double()
    errors = torch.stack([(one - truth)[clear], (other - truth)[clear]])
    if bool((errors.std(1, unbiased=False) < 1e-12).any()):
        return None
    return float(torch.corrcoef(errors)[0, 1])


def permuted(marks: Marks, seed: int) -> Marks:
    """Return marks of which each recording has those of another, by chance, as a control."""
    order = uniform(make_key(seed, torch.arange(len(marks.values))), _PERMUTED).argsort(stable=True)
    return Marks(marks.classes, marks.values[order])


def _too_few(mark: Tensor) -> bool:
    return min(int((mark > 0).sum()), int((mark < 0).sum())) < _FOLDS
