"""The linear probe: multinomial logistic regression on frozen features, without a single hand-set number.

Features are standardised with the training rows' mean and deviation. The strength of the L2 penalty is the one with
the lowest log loss on a held-out fifth of the training rows, whole recordings, balanced over classes; the test rows
play no part. The final fit uses all training rows. Full-batch L-BFGS from zero weights: no randomness but the fifth.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from coview.errors import UsageError
from coview.randomness import make_key, uniform

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # L2 penalty against the MEAN log loss, in the order tried
FIXED = 0.01  # where there is too little to choose on
_ITERATIONS = 500


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        weight: float64 (classes, D); `bias`: float64 (classes,); `mean`, `deviation`: float64 (D,).
        choices: how it was made, as plain data.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    deviation: Tensor
    choices: dict[str, Any]

    def logits(self, features: Tensor) -> Tensor:
        """Return float64 (..., classes) for features (..., D)."""
        return (features.double() - self.mean) / self.deviation @ self.weight.T + self.bias


def fit_probe(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    seed: int = 0,
    standardise: bool = True,
    strength: float | None = None,
) -> Probe:
    """Fit the probe.

    Args:
        features: float (N, W, D), W windows of N recordings; every window is a training sample.
        labels: int64 (N,) in 0..classes-1.
        classes: number of classes; a class without training rows gets probability zero.
        seed: draws the held-out fifth.
        standardise: bring every feature to mean 0 and deviation 1 on the training rows.
        strength: penalty to use instead of choosing one, for parts too small to hold a fifth out.

    Raises:
        UsageError: with fewer than two classes, or fewer than ten recordings to choose the penalty on.
    """
    present = int((torch.bincount(labels, minlength=classes) > 0).sum())
    if present < 2 or (labels.numel() < 10 and strength is None):
        raise UsageError(
            f"a linear probe needs ten labelled training recordings of two classes; got {labels.numel()} of {present}"
        )
    if not bool(torch.isfinite(features).all()):
        bad = (~torch.isfinite(features).flatten(1).all(1)).nonzero().flatten().tolist()
        raise UsageError(f"a linear probe needs finite features; {len(bad)} rows hold NaN or infinity: {bad[:5]}")
    held = held_out_fifth(labels, seed)
    if strength is None and not bool(held.any()):
        strength = FIXED  # classes of one or two recordings each: nothing to choose by
    tried = _held_out_losses(features, labels, held, classes, standardise) if strength is None else {strength: 0.0}
    best = min(tried, key=lambda strength: (tried[strength], -strength))  # equal losses: the stronger penalty
    path = [each for each in STRENGTHS if each >= best] if strength is None else [strength]
    fit = list(_fits(features, labels, path, classes, standardise))[-1]
    search = {
        "strengths_tried": {str(each): round(loss, 6) for each, loss in tried.items()},
        "chosen_by": "log loss on a held-out fifth of the training recordings; refitted on all of them",
        "search": "from the strongest penalty, each fit started at the one before; over after two that were worse",
        "held_out_seed": seed,
    }
    choices = {
        "classifier": "multinomial logistic regression, L-BFGS from zero weights",
        "standardised": "by the training rows' mean and deviation" if standardise else "no",
        "penalty": "L2 on the weights, against the mean log loss",
        "strength": best,
        **(search if strength is None else {"chosen_by": "given"}),
        "converged": fit.converged,
        "iteration_limit": _ITERATIONS,
        "train_recordings": labels.numel(),
        "train_windows": features.shape[1],
        "test_windows": "class probabilities averaged over a recording's windows",
    }
    return dataclasses.replace(fit.probe, choices=choices)


def held_out_fifth(labels: Tensor, seed: int) -> Tensor:
    """Return bool (N,): every fifth recording of an order that is random inside each class.

    A class of one or two recordings stays in training whole.
    """
    chance = uniform(make_key(seed, torch.arange(labels.numel())), 0)
    shuffled = torch.argsort(chance, stable=True)
    order = shuffled[torch.argsort(labels[shuffled], stable=True)]
    held = torch.zeros(labels.numel(), dtype=torch.bool)
    held[order[2::5]] = True
    return held & (torch.bincount(labels)[labels] > 2) if labels.numel() else held


def average_windows(logits: Tensor) -> Tensor:
    """Return probabilities (N, classes), the mean over windows of each window's softmax of logits (N, W, classes).

    The order matters: softmax first, then the mean (the protocol of video classification by dense clips).
    """
    return logits.softmax(-1).mean(1)


class _Fit(NamedTuple):
    probe: Probe
    converged: bool


def _held_out_losses(
    features: Tensor, labels: Tensor, held: Tensor, classes: int, standardise: bool
) -> dict[float, float]:
    """Return the mean log loss on the held-out part for each penalty tried."""
    losses: dict[float, float] = {}
    fits = _fits(features[~held], labels[~held], STRENGTHS, classes, standardise)
    for strength, fit in zip(STRENGTHS, fits, strict=False):
        logits = fit.probe.logits(features[held])
        truth = labels[held][:, None].expand(logits.shape[:2])
        # A class that is only in the held-out part has probability zero for every strength: it cannot help to choose.
        fair = torch.isfinite(fit.probe.bias)[truth]
        logs = logits.log_softmax(-1).gather(-1, truth[..., None]).squeeze(-1)
        losses[strength] = float(-logs[fair].mean())
        if len(losses) > 2 and min(losses.values()) not in list(losses.values())[-2:]:
            return losses
    return losses


def _fits(
    features: Tensor, labels: Tensor, strengths: Sequence[float], classes: int, standardise: bool
) -> Iterator[_Fit]:
    """Yield the fit for each penalty; each starts where the one before ended."""
    flat = features.double().flatten(0, 1)
    truth = labels[:, None].expand(features.shape[:2]).flatten().numpy()
    mean = flat.mean(0)
    deviation = flat.std(0, unbiased=False)
    deviation = torch.where(deviation > 1e-8 * (1 + mean.abs()), deviation, torch.ones_like(deviation))
    if not standardise:
        mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
    standard = ((flat - mean) / deviation).numpy()
    machine = LogisticRegression(max_iter=_ITERATIONS, tol=1e-5, warm_start=True)
    for strength in strengths:
        # scikit-learn minimises |w|^2 / 2 + C * (sum of log losses).
        machine.set_params(C=1 / (strength * flat.shape[0]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is counted, and stored with the result
            machine.fit(standard, truth)
        converged = int(machine.n_iter_.max()) < _ITERATIONS
        seen = torch.from_numpy(np.asarray(machine.classes_, dtype=np.int64))
        coefficient, intercept = torch.from_numpy(machine.coef_), torch.from_numpy(machine.intercept_)
        if seen.numel() == 2:  # stored as one row, the log odds of the second class
            coefficient, intercept = torch.cat([-coefficient, coefficient]) / 2, torch.cat([-intercept, intercept]) / 2
        weight = torch.zeros(classes, flat.shape[1], dtype=torch.float64)
        bias = torch.full((classes,), -torch.inf, dtype=torch.float64)
        weight[seen], bias[seen] = coefficient, intercept
        yield _Fit(Probe(weight, bias, mean, deviation, {}), converged)
