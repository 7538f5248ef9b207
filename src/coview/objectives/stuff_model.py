"""What texture would continue as: mixtures over half of a cell's surroundings that say what the cell holds.

The generic model of Doersch, Gupta & Efros, ECCV 2014: 16 dictionaries, each of diagonal Gaussians over one half of a
diamond of 40 cells, so that what has not been seen of a half is left out by leaving out its dimensions; and of a full
Gaussian of the cell in the middle for each part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from coview.objectives.context_gaussians import log_likelihood, mixture_moments, weighted_gaussian
from coview.objectives.precision import in_float32
from coview.randomness import make_key, uniform

SIDE = 9  # cells along a diamond
RIDGE = 1e-3  # on variances in training, once more in use, and on full covariances
_ASKED = 1e-4  # parts of no larger share are left out of a prediction
_RARE = 0.25  # of the mean occupancy: a part below it starts again beside a large one
_STILL = 30.0  # sum of squared movements of all centres at which training ends
_DRAWN = 0x737475  # stream of the first centres
_BLOCK = 1 << 14  # patches at a time
Mixture: TypeAlias = "tuple[Tensor, Tensor, Tensor]"  # shares, means, variances


def diamond(side: int = SIDE) -> Tensor:
    """Return bool (side, side): the cells within side // 2 steps of the middle, which is left out."""
    steps = (torch.arange(side) - side // 2).abs()
    distance = steps[:, None] + steps
    return (distance <= side // 2) & (distance > 0)


def half_diamonds(side: int = SIDE) -> Tensor:
    """Return bool (side, side, 4 (side // 2)): the diamond's parts on one side of a line through the middle.

    Four turns each of the half on or above the lines through (middle - number, middle - rest), in the released order.
    """
    middle = side // 2
    y, x = (torch.arange(side) - middle)[:, None], torch.arange(side) - middle
    found = []
    for number in range(middle):
        half = diamond(side) & ((number - middle) * y + number * x >= 0)
        found += [half.rot90(turns, (0, 1)) for turns in range(1, 5)]
    return torch.stack(found, -1)


@dataclass(frozen=True)
class Dictionary:
    """A mixture over one half; K parts, C cells, D numbers a cell.

    Attributes:
        half: bool (side, side), its cells.
        shares: (K,); means, variances: (K, C, D); middle, spread: (K, D) and (K, D, D), of the cell in the middle.
    """

    half: Tensor
    shares: Tensor
    means: Tensor
    variances: Tensor
    middle: Tensor
    spread: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return what it is made of, by name; `Dictionary(**...)` makes it again."""
        return dict(vars(self))


@in_float32
def parts_of(
    around: Tensor, seen: Tensor, shares: Tensor, means: Tensor, variances: Tensor, ridge: float = RIDGE
) -> Tensor:
    """Return responsibilities (N, K) of patches' cells, as far as they are seen.

    Args:
        around: (N, C, D); what is not seen may be anything finite.
        seen: bool (N, C).
        shares, means, variances: of a `Dictionary`.
        ridge: added to the variances.
    """
    weight = seen.to(around.dtype)[..., None].expand_as(around).flatten(1)
    x, precision = around.flatten(1), 1 / (variances.flatten(1) + ridge)
    centre = means.flatten(1)
    squares = (weight * x.square()) @ precision.T - 2 * (weight * x) @ (precision * centre).T
    squares = squares + weight @ (precision * centre.square() - precision.log()).T
    return (shares.clamp(min=1e-30).log() - squares / 2).softmax(1)


@torch.no_grad()
def fit_dictionary(
    around: Tensor, middle: Tensor, half: Tensor, parts: int, *, seed: int, iterations: int = 100
) -> Dictionary:  # fmt: skip
    """Return the dictionary of a half, by expectation and maximisation from keyed rows as first centres.

    A part's full Gaussian is drawn towards that of all patches by D / (D + n), n its patches: with the published 500
    a part, by a seventeenth.

    Args:
        around: (N, C, D), the half's cells of N patches, N at least `parts`.
        middle: (N, D), what the cells in the middle hold.
        half: bool (side, side), C cells.
        seed: of the first centres.
        iterations: at most.
    """
    first = uniform(make_key(seed, torch.arange(len(around))), _DRAWN).argsort(stable=True)[:parts]
    means, shares = around[first.to(around.device)], around.new_full((parts,), 1 / parts)
    variances = (around.var(0, correction=0) + RIDGE).expand_as(means).clone()
    for _ in range(iterations):
        counts, sums, squares = _sums(around, (shares, means, variances))
        there = counts.clamp(min=1e-6)[:, None, None]
        moved = sums / there
        fitted = (squares / there - moved.square()).clamp(min=0) + RIDGE
        movement = float((moved - means).square().sum())
        means, variances, shares = moved, fitted, counts / counts.sum()
        order = counts.argsort(stable=True)
        rare = min(int((counts < _RARE * counts.mean()).sum()), parts // 2)
        if rare:  # each begins again beside another of the largest, half a deviation to either side
            again, largest = order[:rare], order.flip(0)[:rare]
            step = variances[largest].sqrt() / 2
            means[again], variances[again] = means[largest] + step, variances[largest]
            means[largest] = means[largest] - step
            shares[largest] = shares[largest] / 2
            shares[again] = shares[largest]
            shares = shares / shares.sum()
        elif movement < _STILL:
            break
    return Dictionary(half, shares, means, variances, *_middles(middle, around, (shares, means, variances)))


def _responsibilities(around: Tensor, mixture: Mixture) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and their responsibilities (n, K), a block of patches (N, C, D) at a time."""
    for start in range(0, len(around), _BLOCK):
        rows = slice(start, start + _BLOCK)
        block = around[rows]
        seen = torch.ones(block.shape[:2], dtype=torch.bool, device=block.device)
        yield rows, parts_of(block, seen, *mixture, ridge=0.0)


def _sums(around: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor, Tensor]:
    """Return each part's count (K,), sum and sum of squares (K, C, D) of patches (N, C, D)."""
    parts = len(mixture[0])
    count, total, squares = around.new_zeros(parts), *(around.new_zeros(parts, *around.shape[1:]) for _ in "ab")
    for rows, share in _responsibilities(around, mixture):
        count += share.sum(0)
        total += torch.einsum("nk,ncd->kcd", share, around[rows])
        squares += torch.einsum("nk,ncd->kcd", share, around[rows].square())
    return count, total, squares


def _middles(middle: Tensor, around: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Return the full Gaussian of each part's middle cell: (K, D), (K, D, D)."""
    parts, size = len(mixture[0]), middle.shape[1]
    mean, spread = weighted_gaussian(middle, middle.new_ones(len(middle)), RIDGE)
    counts, total = middle.new_zeros(parts), middle.new_zeros(parts, size)
    outer = middle.new_zeros(parts, size, size)
    for rows, share in _responsibilities(around, mixture):
        apart = middle[rows] - mean
        counts += share.sum(0)
        total += share.T @ apart
        outer += (share.T @ (apart[:, :, None] * apart[:, None]).flatten(1)).reshape(outer.shape)
    own = total / counts.clamp(min=1e-6)[:, None]
    scatter = outer / counts.clamp(min=1e-6)[:, None, None] - own[:, :, None] * own[:, None]
    trust = counts / (counts + size)
    pooled = torch.lerp(spread.expand_as(scatter), scatter, trust[:, None, None].expand_as(scatter))
    eye = torch.eye(size, dtype=middle.dtype, device=middle.device)
    return mean + trust[:, None] * own, pooled + RIDGE * eye


class Stuff:
    """The generic model: what cells hold that continue what is around them."""

    def __init__(self, dictionaries: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.dictionaries = [Dictionary(**tensors) for tensors in dictionaries.values()]
        self.halves = torch.stack([each.half for each in self.dictionaries])

    def log_likelihood(self, cells: Tensor, known: Tensor, at: Tensor) -> Tensor:
        """Return the log likelihoods (F,) of the cells at places (F, 2), given those that are known.

        Args:
            cells: (rows, columns, D).
            known: bool (rows, columns).
            at: int64 (F, 2), row and column.
        """
        side = self.halves.shape[-1]
        reach = side // 2
        steps = torch.arange(side, device=cells.device)
        rows, columns = at[:, 0, None, None] + steps[:, None], at[:, 1, None, None] + steps
        around = pad(cells, (0, 0, reach, reach, reach, reach))[rows, columns]
        seen = pad(known, (reach, reach, reach, reach))[rows, columns]
        # The half that sees most; of equal ones the first.
        choice = (seen[:, None] & self.halves.to(seen.device)).flatten(2).sum(-1).argmax(1)
        found = cells.new_zeros(len(at))
        for number in set(choice.tolist()):
            mine, which = choice == number, self.dictionaries[number]
            shares = parts_of(
                around[mine][:, which.half], seen[mine][:, which.half], which.shares, which.means, which.variances
            )
            shares = torch.where(shares > _ASKED, shares, 0.0)
            shares = shares / shares.sum(1, keepdim=True)
            mean, covariance = mixture_moments(shares, which.middle, which.spread)
            found[mine] = log_likelihood(cells[at[mine, 0], at[mine, 1]], mean, covariance)
        return found
