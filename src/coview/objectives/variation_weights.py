"""Weights of several losses by how much each still varies: the coefficient of variation.

Groenendijk, Karaoglu, Gevers & Mensink, "Multi-loss weighting with coefficient of variations", WACV 2021
(arXiv 2009.01717). With the ratio of a loss to its mean over the steps before,

    weight_i ~ deviation(ratio_i) / mean(ratio_i),   summing to 1,

mean and deviation over all steps so far. In the first two steps the weights are equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

_FLOOR = 1e-8  # added to a variance


def no_course(losses: int) -> Tensor:
    """Return the course of so many losses before the first step, (4, L): steps, mean, mean ratio, its scatter."""
    return torch.zeros(4, losses)


def variation_weights(course: Tensor) -> Tensor:
    """Return the weights (L,) of the next step from the course (4, L) of those before it."""
    steps, _, ratio, scatter = course.unbind()
    if steps[0] < 2:
        return torch.full_like(ratio, 1 / len(ratio))
    weights = (scatter / steps + _FLOOR).sqrt() / ratio
    return weights / weights.sum()


def next_course(course: Tensor, losses: Tensor) -> Tensor:
    """Return the course (4, L) after a step of these losses (L,), by Welford's sums; losses are not below 0.

    A loss that has always been 0, such as one of weight 0, does not vary.
    """
    steps, mean, ratio, scatter = course.unbind()
    now = torch.where(mean > 0, losses / torch.where(mean > 0, mean, 1.0), 1.0)
    after = ratio + (now - ratio) / (steps + 1)
    return torch.stack(
        [steps + 1, mean + (losses - mean) / (steps + 1), after, scatter + (now - ratio) * (now - after)]
    )
