"""Ranking of patches: both ends of a track are nearer to each other than either is to a patch of another film.

Wang & Gupta, ICCV 2015 (arXiv 1505.00687). With D(a, b) = 1 - f(a) . f(b) of unit features, anchor a, positive p of
the same track, and n one of K chosen patches of other films,

    paper:     mean over n of  max(0, M + D(a, p) - D(a, n)),                                  M = 0.5
    released:  sum over n of  [max(0, M + D(a, p) - D(a, n)) + max(0, M + D(a, p) - D(p, n))] / 2K,    M = 1

The released layer takes from the patches whose hinge against the anchor is above 0 alone, and divides by K whatever
their number: its value falls where hinges shrink and where such patches run out. Hardness is judged from the anchor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather, gather_with_grad

_EPSILON = 1e-6  # beside the length of a feature, so that one that is zero throughout has a direction: none


@in_float32
def directed(x: Tensor) -> Tensor:
    """Return features (..., D) divided by their length, as the released layer does: 0 stays 0, with gradient 0."""
    squared = x.square().sum(-1, keepdim=True)
    there = squared > 0
    length = torch.where(there, torch.where(there, squared, 1.0).sqrt(), 0.0)
    return x / (length + _EPSILON)


@in_float32
def ranking(
    first: Tensor,
    last: Tensor,
    film: Tensor,
    draws: Tensor,
    *,
    margin: float,
    count: int,
    hard: float,
    released: bool,
) -> tuple[Tensor, Tensor]:
    """Return the loss of every track (N_r,), and the hinges (N_r, 2N) of its first patch that were chosen, else 0.

    Negatives are both patches of tracks of all processes, in order of rank, whose film is another.

    Args:
        first, last: unit features (N_r, D) of both ends of the tracks.
        film: int64 (N_r,), which film each track is from.
        draws: numbers in [0, 1), (N_r, 2N), which choose at random.
        margin: M.
        count: K.
        hard: share of the K that is taken from the K nearest; the rest from everything left.
        released: the released form, else the paper's.
    """
    patches = gather_with_grad(torch.stack([first, last], 1)).flatten(0, 1)  # (2N, D): first, last, first, ...
    other = film[:, None] != gather(film).repeat_interleave(2)[None]
    own = 1 - (first * last).sum(1, keepdim=True)
    hinges = torch.relu(margin + own - (1 - first @ patches.T))
    with torch.no_grad():
        allowed = other & ~(hinges <= 0) if released else other  # a hinge of NaN counts, and the loss says it
        chosen = choose(-(first @ patches.T), allowed, draws, count, hard)
    total = torch.where(chosen, hinges, 0.0)
    if released:
        second = torch.relu(margin + own - (1 - last @ patches.T))
        return (total + torch.where(chosen, second, 0.0)).sum(1) / (2 * count), total.detach()
    return total.sum(1) / chosen.sum(1).clamp(min=1), total.detach()


def choose(distance: Tensor, allowed: Tensor, draws: Tensor, count: int, hard: float) -> Tensor:
    """Return bool (N, M): which of M patches are the negatives of each anchor; all that are allowed where few are.

    Of the `count` nearest a share `hard`, rounded down, is drawn; then `count` times the rest of the share, rounded
    down, from everything else that is allowed, nearest ones that were not drawn included.

    Args:
        distance: (N, M), by which near is meant.
        allowed: bool (N, M).
        draws: (N, M), the least of which win.
    """
    pool = allowed & (_rank(distance, allowed) < count)
    nearest = pool & (_rank(draws, pool) < _part(count, hard))
    rest = allowed & ~nearest
    anywhere = rest & (_rank(draws, rest) < _part(count, 1 - hard))
    few = allowed.sum(1, keepdim=True) <= count
    return torch.where(few, allowed, nearest | anywhere)


def _part(count: int, share: float) -> int:
    return math.floor(round(count * share, 6))  # 10 x (1 - .8) is 2, not 1.9999999999999996


def _rank(values: Tensor, among: Tensor) -> Tensor:
    """Return int64 (N, M): how many of the row's values that count are smaller; of equal ones the first comes first."""
    order = values.masked_fill(~among, torch.inf).argsort(dim=1, stable=True)
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
