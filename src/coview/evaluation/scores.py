"""From class probabilities to figures: accuracies of recordings and of single windows."""

from __future__ import annotations

import torch
from torch import Tensor

from coview.embedding.extract import Features
from coview.evaluation.measurable import telling
from coview.evaluation.statistics import Measurement, accuracy, mean


def score(
    what: str, name: str, probability: Tensor, truth: Tensor, classes: int, seed: int, *, clips: bool = True
) -> list[Measurement]:
    """Return the accuracies of class probabilities (N, W, classes), W windows of N recordings, against truth (N,).

    "<what>/<name>" is the share of recordings whose mean over windows is highest for their class, "<what>_top5/<name>"
    among the five highest (with eight classes or more; among fewer it says little). With several windows,
    "<what>_clip/<name>" (and top 5) is the share of single windows, its interval from resampled recordings, since the
    windows of one are not independent.

    Args:
        classes: how many there are to guess among; columns of classes that were not learnt hold probability 0.
    """
    whole = probability.mean(1)
    figures = []
    for k, suffix in ((1, ""), (5, "_top5")):
        if k > 1 and not telling(k, classes):
            continue
        figures.append(accuracy(f"{what}{suffix}/{name}", hits(whole, truth, k), k / classes))
    if probability.shape[1] > 1 and clips:
        for k, suffix in ((1, "_clip"), (5, "_clip_top5")):
            if k > 1 and not telling(k, classes):
                continue
            share = hits(probability, truth[:, None].expand(probability.shape[:2]), k).double().mean(1)
            figures.append(mean(f"{what}{suffix}/{name}", share, k / classes, seed))
    return figures


def hits(scores: Tensor, truth: Tensor, k: int) -> Tensor:
    """Return bool (...): fewer than k classes score as high as the true one or higher, for scores (..., classes).

    Ties count against the model, so that equal scores for all classes are no success, and nor are scores of NaN.
    """
    own = scores.gather(-1, truth[..., None])
    return (~(scores < own)).sum(-1) <= k


def filled(features: Features, name: str) -> Tensor:
    """Return the clips (N, W, D) of a view, absent windows replaced by the mean of the recording's present ones."""
    present = features.clip_present[name][..., None]
    return torch.where(present, features.clips[name], features.values[name][:, None])
