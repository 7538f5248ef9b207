"""Whether confidences can be believed: the calibration error, and the one scale that makes them so.

Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017 (arXiv 1706.04599): section 2 (the
error, equation 3) and 4.2 (temperature scaling; the scale here is one over the temperature).
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.evaluation.statistics import Measurement, resampled_counts

BINS = 15
_SCALES = torch.logspace(-1, 3, 801, dtype=torch.float64)  # steps of 1.2 %


def fitted_scale(cosines: Tensor, truth: Tensor) -> float:
    """Return the scale of cosines (N, C) under which the softmax gives the classes `truth` (N,) the highest likelihood.

    The highest of the scales between 0.1 and 1000 where all are alike.
    """
    losses = [torch.nn.functional.cross_entropy(scale * cosines.double(), truth, reduction="mean") for scale in _SCALES]
    return float(_SCALES[int(torch.stack(losses).argmin())])


def calibration_error(name: str, probability: Tensor, truth: Tensor, seed: int) -> Measurement:
    """Return the expected calibration error of class probabilities (N, C), its interval over resampled recordings.

    Confidences are put into 15 bins of equal width; in each the mean confidence is compared with the share that is
    right. The error of a few recordings is above 0 also where confidences are true.
    """
    confidence, chosen = probability.double().max(1)
    gap = confidence - (chosen == truth).double()
    which = (confidence * BINS).long().clamp(max=BINS - 1)
    inside = torch.nn.functional.one_hot(which, BINS).double() * gap[:, None]  # (N, 15)
    value = float(inside.sum(0).abs().sum()) / len(truth)
    drawn = [(counts.double() @ inside).abs().sum(1) / len(truth) for counts in resampled_counts(len(truth), seed)]
    low, high = torch.cat(drawn).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Measurement(name, value, low, high, None, len(truth))
