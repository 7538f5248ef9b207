"""Growing a prediction: what surrounds a patch, foretold from what surrounds patches that look like it.

Doersch, Gupta & Efros, ECCV 2014. From the patch outwards, the cells beside what is known are predicted all at once by
a thing model, which pools the cells that correspond in other pictures, and by the stuff model; then they are known too.
What the authors bound by time is bounded by the window here: results then do not depend on the computer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from coview.objectives.cell_correspondence import APPEARANCE, Correspondence, extended, settled, shares_of
from coview.objectives.context_gaussians import (
    BOUND,
    SCORED,
    belief,
    capped,
    log_accuracies,
    log_likelihood,
    log_odds_of_thing,
    patch_score,
    weighted_gaussian,
)

FLAT = 9.0  # gradient energy of 3 x 3 cells at or below which a cell holds nothing but compression's traces
UNKNOWN = 0.5  # mimicry outside a picture, and of a predictor without a map
_GROWN = 0.05  # mimicry above which a cell bounds the region to grow into
_HULL = 1.1  # that region's convex hull is so much wider
_DIRECTIONS = 32  # of the lines that bound it
_RIDGE = 1e-3  # on the thing model's covariance
# log likelihoods (F,) of cells (rows, columns, D) at places (F, 2), given the known ones (rows, columns)
StuffModel = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Windows:
    """Cells around patches that look alike, the patch in the middle: (P, rows, columns, ...).

    Attributes:
        cells: histograms (P, rows, columns, D), 0 outside of the picture.
        energy: gradient energy (P, rows, columns), 0 outside.
        inside: bool (P, rows, columns), what the picture has.
        thing: (P, rows, columns), how far each cell is known to be of the thing; `UNKNOWN` where it is not.
    """

    cells: Tensor
    energy: Tensor
    inside: Tensor
    thing: Tensor

    @property
    def telling(self) -> Tensor:
        """Bool (P, rows, columns): the cells with enough gradient about them."""
        return self.inside & (9 * avg_pool2d(self.energy[:, None], 3, 1, 1)[:, 0] > FLAT)

    def __getitem__(self, which: Tensor | slice) -> Windows:
        return Windows(self.cells[which], self.energy[which], self.inside[which], self.thing[which])


@dataclass(frozen=True)
class Growth:
    """What came of one query: rows x columns cells of its window.

    Attributes:
        score: how far its surroundings follow from the predictors', better than from texture.
        predicted: bool, the cells that were predicted.
        thing, stuff: log likelihoods, 0 where not predicted.
        mimicry: how far the predictors hold the cell for the thing's.
        belief: how far the cells proved to be of the thing; 1 in the patch.
        usage: (P,), what each predictor gave to right predictions.
    """

    score: float
    predicted: Tensor
    thing: Tensor
    stuff: Tensor
    mimicry: Tensor
    belief: Tensor
    usage: Tensor


@torch.no_grad()
def grow(
    query: Windows, predictors: Windows, stuff: StuffModel, patch: int, *, stiffness: float = 0.1,
    smoothness: float = 0.5,
) -> Growth:  # fmt: skip
    """Predict the surroundings of a patch; without predictors, or where they say nothing, the thing model is stuff's.

    Args:
        query: one window.
        predictors: P windows of the same size.
        patch: cells along the side of the patch in the middle of the windows, which is known from the start.
        stiffness, smoothness: of the correspondence (`cell_correspondence.settled`).
    """
    cells, inside, telling = query.cells[0], query.inside[0], query.telling[0]
    count, (rows, columns) = len(predictors.cells), inside.shape
    known = torch.zeros_like(inside)
    top, left = (rows - patch) // 2, (columns - patch) // 2
    known[top : top + patch, left : left + patch] = True
    start = known.clone()
    zero = cells.new_zeros(rows, columns)
    thing, texture, mimicry, predicted = zero.clone(), zero.clone(), zero.clone(), torch.zeros_like(known)
    right, wrong = cells.new_zeros(count, rows, columns), cells.new_zeros(count, rows, columns)
    usage = cells.new_zeros(count)
    match = _looks(cells, predictors.cells)
    found = Correspondence.identity(count, rows, columns, cells)
    pool = _Pool(predictors)
    while True:
        sure = torch.where(start, 1.0, belief(*log_odds_of_thing(thing, texture), predicted))
        frontier = _beside(known) & inside
        if not bool(frontier.any()):
            break
        found = settled(
            found, known, sure, match, predictors.inside, stiffness=stiffness, smoothness=smoothness
        )  # fmt: skip
        found = extended(found, known, frontier)
        at = frontier.nonzero()
        trust = _trust(right, wrong, predicted, at)
        places, shares, mapped = pool.at(found, at, trust)
        mimicry[frontier] = mapped * telling[frontier]
        likely = (mimicry * sure > _GROWN) & (frontier | known) | start
        taken = frontier & _in_hull(likely)
        if not bool(taken.any()):
            break
        chosen = taken[frontier]
        at, places, shares = at[chosen], places[chosen], shares[chosen]
        texture[taken] = stuff(cells, known, at)
        thing[taken], each, used = pool.log_likelihoods(cells[taken], places, shares, texture[taken])
        if count > 1:
            right[:, taken], wrong[:, taken] = log_accuracies(each)
        gain = (thing[taken] - texture[taken]).clamp(0, BOUND) * (mimicry[taken] > SCORED)
        usage += (used * gain[:, None]).sum(0)
        known, predicted = known | taken, predicted | taken
    score = float(patch_score(thing[predicted], texture[predicted], mimicry[predicted]))
    return Growth(score, predicted, thing, texture, mimicry, sure, usage)


def _looks(cells: Tensor, others: Tensor) -> Tensor:
    """Return (P, cells, cells): log likelihood of each cell's look given that of each cell of the other pictures."""
    flat = cells.flatten(0, 1)
    return -torch.cdist(flat.expand(len(others), -1, -1), others.flatten(1, 2)).square() / (2 * APPEARANCE)


def _beside(known: Tensor) -> Tensor:
    """Return bool (rows, columns): the cells that are not known and lie beside one that is."""
    grown = known.clone()
    grown[1:] |= known[:-1]
    grown[:-1] |= known[1:]
    grown[:, 1:] |= known[:, :-1]
    grown[:, :-1] |= known[:, 1:]
    return grown & ~known


def _trust(right: Tensor, wrong: Tensor, predicted: Tensor, at: Tensor) -> Tensor:
    """Return (F, P): the belief in each predictor at places (F, 2), of sum 1 and capped."""
    count = len(right)
    if count < 2:
        return right.new_ones(len(at), count)
    local = belief(right, wrong, predicted)[:, at[:, 0], at[:, 1]].T.clamp(min=1e-30)
    return capped(local / local.sum(1, keepdim=True))


def _in_hull(points: Tensor) -> Tensor:
    """Return bool (rows, columns): what lies within the widened convex hull of the points, by its tangents."""
    where = points.nonzero().float()
    angles = torch.arange(_DIRECTIONS, device=points.device) * (2 * math.pi / _DIRECTIONS)
    directions = torch.stack([angles.sin(), angles.cos()])
    middle = where.mean(0)
    reach = ((where - middle) @ directions).amax(0)
    grid = torch.ones_like(points).nonzero().float() - middle
    return (grid @ directions <= _HULL * reach + 1e-4).all(1).reshape(points.shape)


class _Pool:
    """The predictors' cells, to be pooled where they correspond."""

    def __init__(self, predictors: Windows) -> None:
        self.cells = predictors.cells.flatten(1, 2)
        self.inside = predictors.inside.flatten(1)
        self.telling = predictors.telling.flatten(1)
        self.thing = predictors.thing.flatten(1)
        self.size = predictors.inside.shape[1:]

    def at(self, found: Correspondence, at: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return places (F, P, K), shares (F, P, K) of cells with enough gradient, and the mimicry (F,)."""
        mean, covariance = found.mean[:, at[:, 0], at[:, 1]], found.covariance[:, at[:, 0], at[:, 1]]
        places, shares, there = (part.transpose(0, 1) for part in shares_of(mean, covariance, *self.size))
        who = torch.arange(len(self.cells), device=places.device)[:, None]
        shares = shares * trust[..., None]
        there = there & self.inside[who, places]
        mapped = (shares * torch.where(there, self.thing[who, places], UNKNOWN)).sum((1, 2))
        return places, shares * (there & self.telling[who, places]), mapped

    def log_likelihoods(
        self, cells: Tensor, places: Tensor, shares: Tensor, otherwise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return cells' log likelihoods (F,), each predictor's (P, F), and the predictors' parts in them (F, P).

        Where no predictor says anything it is `otherwise`; one that says nothing is as good as all together.
        """
        who = torch.arange(len(self.cells), device=places.device)[:, None]
        looks, mine = self.cells[who, places], shares.sum(2)
        weight = mine.sum(1)
        some = weight > 1e-6
        usable = torch.where(some[:, None, None], shares, 1.0)
        mean, covariance = weighted_gaussian(looks.flatten(1, 2), usable.flatten(1), _RIDGE)
        whole = torch.where(some, log_likelihood(cells, mean, covariance), otherwise)
        means = (shares[..., None] * looks).sum(2) / mine.clamp(min=1e-9)[..., None]
        each = log_likelihood(cells[:, None], means, covariance[:, None])
        each = torch.where((mine > 1e-6) & some[:, None], each, whole[:, None])
        return whole, each.T, mine / weight.clamp(min=1e-9)[:, None]
