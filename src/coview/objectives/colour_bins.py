"""Colour as classes: a grid over the ab plane, soft labels on it, weights for rare colours, and ways back to a colour.

Zhang, Isola & Efros, Colorful image colorization, ECCV 2016 (arXiv 1603.08511). A colour is (a, b) of CIELAB, D65.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from coview.objectives.colour import srgb_to_lab
from coview.objectives.precision import in_float32

STEP, REACH = 10, 110  # the grid's nodes: -110, -100, ..., 110 on both axes
# In the published set, though no sRGB colour lies in a cell beside them.
EXCEPTIONS = ((40, 90), (100, -90), (100, -10), (100, 0))
COUNT = 313
_CELLS = 20  # a side; more cost more than they save
_SLACK = 1e-2  # of a squared distance: rounding, and the order of ties


@functools.cache
def colour_bins() -> Tensor:
    """Return the 313 published bins, float32 (313, 2), by ascending a, then b.

    A node is in the set where it is a corner of a 10 x 10 cell that holds an sRGB colour, and in four cases more. The
    faces of the sRGB cube suffice: every line of constant (a, b) leaves the solid of colours through them.
    """
    line = torch.arange(256, dtype=torch.float64) / 255
    u, v = (value.flatten() for value in torch.meshgrid(line, line, indexing="ij"))
    faces = [
        torch.stack([*(u, v)[:axis], torch.full_like(u, side), *(u, v)[axis:]], dim=1)
        for axis in range(3)
        for side in (0.0, 1.0)
    ]
    ab = srgb_to_lab(torch.cat(faces))[:, 1:]
    cells = torch.unique(torch.floor(ab / STEP).long(), dim=0)
    corners = torch.cat([cells + torch.tensor(corner) for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]) * STEP
    corners = corners[(corners.abs() <= REACH).all(1)]
    nodes: Tensor = torch.unique(torch.cat([corners, torch.tensor(EXCEPTIONS)]), dim=0)
    assert len(nodes) == COUNT, f"the rule gives {len(nodes)} bins, not the published {COUNT}"
    return nodes.float()


def soft_labels(ab: Tensor, bins: Tensor, neighbours: int = 5, width: float = 5.0) -> tuple[Tensor, Tensor]:
    """Return each colour's nearest bins and their weights: int64 (N, K) and (N, K), nearest first.

    The weights are Gaussian in the distance, of standard deviation `width`, and sum to 1. Equally near bins are taken
    in the order of their numbers. The paper takes K = 5, the released code 10; K = 1 gives the class alone.

    Args:
        ab: (N, 2).
        bins: (Q, 2).
    """
    near = _candidates(ab, bins, neighbours)
    a, b = ab.double().unbind(1)
    # One axis after the other: a sum over a last dimension of two takes ten times as long.
    across, along = (values.double()[near] for values in bins.unbind(1))
    distance = (a[:, None] - across).square_().add_((b[:, None] - along).square_())
    order = distance + near * 1e-7  # decides ties, and nothing else
    place = order.topk(neighbours, largest=False).indices
    index = near.expand(len(ab), -1).gather(1, place)
    weight = torch.softmax(-distance.gather(1, place) / (2 * width**2), dim=1)
    return index, weight.to(ab.dtype)


def _candidates(ab: Tensor, bins: Tensor, neighbours: int) -> Tensor:
    """Return bins, int64 (N, C) or (1, Q), among which each colour (N, 2) has its nearest.

    The colours' range is cut into cells. A bin whose nearest point of a cell is farther than the farthest point is of
    `neighbours` others is not needed in it: a tenth of 313 is left, with the same distances.
    """
    everything = torch.arange(len(bins), device=ab.device)[None]
    if len(ab) <= _CELLS**2:
        return everything
    low, high = (value.double() for value in torch.aminmax(ab, dim=0))
    if not bool((high - low).isfinite().all()):  # no cells: what is not finite stays so, and the loss says it
        return everything
    width = ((high - low) / _CELLS).clamp(min=1e-6)
    line = torch.arange(_CELLS, dtype=torch.float64, device=ab.device)
    begin = low + torch.cartesian_prod(line, line) * width  # (cells, 2)
    before, behind = begin[:, None] - bins.double(), bins.double() - (begin + width)[:, None]
    least = torch.maximum(before, behind).clamp(min=0).square_()
    most = torch.minimum(before, behind).square_()
    least, most = (each[:, :, 0] + each[:, :, 1] for each in (least, most))
    needed = least <= most.topk(neighbours, largest=False).values[:, -1:] + _SLACK
    table = least.topk(int(needed.sum(1).max()), largest=False, sorted=False).indices
    row, column = ((ab.double() - low) / width).long().clamp(0, _CELLS - 1).unbind(1)
    return table[row * _CELLS + column]


@in_float32
def colour_loss(logits: Tensor, index: Tensor, weight: Tensor, importance: Tensor | None = None) -> Tensor:
    """Return -v sum_k w_k log softmax(logits)_k of every place (N,), from sparse soft labels.

    Args:
        logits: (N, Q).
        index, weight: (N, K), see `soft_labels`.
        importance: v (N,); carries no gradient. None: 1.
    """
    picked = logits.gather(1, index) - logits.logsumexp(1, keepdim=True)
    loss = -(weight * picked).sum(1)
    return loss if importance is None else importance.detach() * loss


def smoothed_prior(ab: Tensor, bins: Tensor, width: float = 5.0) -> Tensor:
    """Return how often the bins' colours occur among ab (N, 2): the mean of the soft labels, (Q,), which sums to 1."""
    index, weight = soft_labels(ab, bins, width=width)
    total = torch.zeros(len(bins), dtype=weight.dtype, device=ab.device)
    return total.index_add_(0, index.flatten(), weight.flatten()) / max(len(ab), 1)


def rarity(prior: Tensor, mixed: float = 0.5) -> Tensor:
    """Return the weight of each colour (Q,): 1 / ((1 - mixed) prior + mixed / Q), scaled so that its mean under the
    prior is 1. Bins that never occur have a finite weight wherever mixed > 0.
    """
    weight = 1 / ((1 - mixed) * prior + mixed / len(prior))
    return weight / (prior * weight).sum()


def mean_colour(index: Tensor, weight: Tensor, bins: Tensor) -> Tensor:
    """Return the colours (N, 2) that soft labels stand for."""
    return (weight[..., None] * bins.to(weight.dtype)[index]).sum(1)


@in_float32
def annealed_mean(logits: Tensor, bins: Tensor, temperature: float = 0.38) -> Tensor:
    """Return colours (N, 2) of logits (N, Q): the mean of softmax(logits / temperature), from mean (1) to mode (0)."""
    return torch.softmax(logits / temperature, dim=1) @ bins.to(logits.dtype)


def colourful(ab: Tensor, least: float = 5.0) -> Tensor:
    """Return bool (B,), False for pictures ab (B, 2, H, W) in which no |a| and no |b| exceeds `least`: grey ones."""
    return (ab.abs() > least).flatten(1).any(1)


def lightness_bins(lightness: Tensor, count: int = 50) -> Tensor:
    """Return the bin, int64, of every L in 0..100: `count` equal ones, the last with its end.

    Zhang, Isola & Efros, Split-brain autoencoders, CVPR 2017 (arXiv 1611.09842).
    """
    return torch.floor(lightness * (count / 100)).long().clamp(0, count - 1)
