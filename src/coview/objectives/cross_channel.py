"""What channels of a picture are said from other channels, place by place, and what an error costs.

Zhang, Isola & Efros, "Split-brain autoencoders", CVPR 2017 (arXiv 1611.09842), section 3: half the squared error, or
the cross-entropy of one class, without weights. Depth is said by numbers, where it is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from coview.objectives.colour import COLOUR_RANGE, LIGHTNESS_RANGE
from coview.objectives.colour_bins import COUNT, colour_bins, colour_loss, lightness_bins, soft_labels
from coview.objectives.denoising import squared


@dataclass(frozen=True)
class Aim:
    """What is said of every place of a view, in `width` numbers, and the cost (N,) of these (N, width) beside what is
    true (N, C).
    """

    width: int
    cost: Callable[[Tensor, Tensor], Tensor]
    weight: float = 1.0


def lightness_cost(scores: Tensor, lightness: Tensor) -> Tensor:
    """Return the cross-entropy of the class of lightness, (N, 1) in -1..1."""
    middle, half = LIGHTNESS_RANGE
    index = lightness_bins(lightness * half + middle, scores.shape[1])
    return colour_loss(scores, index, torch.ones_like(index, dtype=scores.dtype))


def colour_cost(scores: Tensor, colour: Tensor) -> Tensor:
    """Return the cross-entropy of the nearest bin of colours (N, 2), a and b divided by 110."""
    bins = colour_bins().to(colour.device)
    return colour_loss(scores, *soft_labels(colour * COLOUR_RANGE, bins, neighbours=1))


def half_squared(made: Tensor, true: Tensor) -> Tensor:
    """Return half the squared error."""
    return 0.5 * squared(true, made)


def known_half_squared(made: Tensor, true: Tensor) -> Tensor:
    """Return half the squared error, 0 where nothing is known: where the first of the true values, disparity, is 0."""
    return half_squared(torch.where(true[:, :1] > 0, made, 0.0), true)


NUMBERS = {
    "lightness": Aim(1, half_squared),
    "colour": Aim(2, half_squared),
    "disparity": Aim(1, known_half_squared),
    "hha": Aim(3, known_half_squared),
}
CLASSES = {"lightness": Aim(50, lightness_cost), "colour": Aim(COUNT, colour_cost)}
