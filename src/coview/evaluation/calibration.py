"""Whether confidences can be believed: the calibration error, and the one scale that makes them so.

Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017 (arXiv 1706.04599): section 2 (the
error, equation 3) and 4.2 (temperature scaling; the scale here is one over the temperature).
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.evaluation.statistics import Measurement, logit_interval, resampled_counts

BINS = 15
_SCALES = torch.logspace(-1, 3, 801, dtype=torch.float64)  # steps of 1.2 %


def fitted_scale(cosines: Tensor, truth: Tensor) -> float:
    """Return the scale of cosines (N, C) under which the softmax gives the classes `truth` (N,) the highest likelihood.

    Of several between 0.1 and 1000 that do so alike, as where every class is right by far, the lowest.
    """
    own = cosines.double()

    def loss(place: int) -> float:
        return float(torch.nn.functional.cross_entropy(_SCALES[place] * own, truth))

    low, high = 0, len(_SCALES) - 1
    while low < high:  # the loss is convex in the scale
        middle = (low + high) // 2
        low, high = (low, middle) if loss(middle) <= loss(middle + 1) else (middle + 1, high)
    return float(_SCALES[low])


def confidences(logits: Tensor, alone: bool) -> Tensor:
    """Return probabilities of logits (N, C): among all classes, or `alone`, with a learnt bias, of each by itself."""
    return torch.sigmoid(logits) if alone else torch.softmax(logits, 1)


def calibration_error(name: str, probability: Tensor, truth: Tensor, seed: int) -> Measurement:
    """Return the expected calibration error of class probabilities (N, C), its interval over resampled recordings.

    Confidences are put into 15 bins of equal width; in each the mean confidence is compared with the share that is
    right. The error of a few recordings is above 0 also where confidences are true, and that of their resamples is
    larger still: the interval takes from them how much they vary, not where they lie.
    """
    confidence, chosen = probability.double().max(1)
    gap = confidence - (chosen == truth).double()
    which = (confidence * BINS).long().clamp(max=BINS - 1)
    inside = torch.nn.functional.one_hot(which, BINS).double() * gap[:, None]  # (N, 15)
    value = float(inside.sum(0).abs().sum()) / len(truth)
    drawn = [(counts.double() @ inside).abs().sum(1) / len(truth) for counts in resampled_counts(len(truth), seed)]
    low, high = logit_interval(value, torch.cat(drawn), len(truth))
    return Measurement(name, value, low, high, None, len(truth))
