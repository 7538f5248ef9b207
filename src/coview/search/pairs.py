"""How well each recording's sound fits its own picture, and which recordings lie nearest to each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coview.randomness import make_key, uniform

SAMPLE = 2000  # recordings whose pairs stand for all pairs
_NEAR, _BLOCK, _DRAW = 10, 2048, 0x70616972


@dataclass(frozen=True)
class Fit:
    """How two views of N recordings fit.

    Attributes:
        better: float64 (N,), the share of random pairs of one recording's picture and another's sound that look
            better than the recording's own pair. It is no probability that the pair is wrong: where recordings are of
            ten kinds, a tenth of random pairs is right by kind.
        first: of the sample, the share whose own sound is the nearest of all to its picture.
        sample: recordings of the sample.
    """

    better: Tensor
    first: float
    sample: int


def fit(one: Tensor, other: Tensor, seed: int = 0) -> Fit:
    """Compare two views, float (N, D) each and of length 1, N >= 2.

    The score of a pair is its cosine minus half the mean of the ten best of its picture and of its sound among the
    others (cross-domain similarity local scaling: Conneau et al., ICLR 2018, section 2.3): what is near to everything
    is not taken for a good match. Random pairs are those of up to 2,000 recordings, drawn by the seed.
    """
    drawn = torch.argsort(uniform(make_key(seed, torch.arange(len(one))), _DRAW), stable=True)[:SAMPLE].sort().values
    crowd = _crowding(one, other[drawn], drawn), _crowding(other, one[drawn], drawn)
    cosine = one[drawn] @ other[drawn].T
    score = cosine - (crowd[0][drawn, None] + crowd[1][None, drawn]) / 2
    apart = ~torch.eye(len(drawn), dtype=torch.bool)
    random = score[apart].sort().values
    own = (one * other).sum(1) - (crowd[0] + crowd[1]) / 2
    better = 1 - torch.searchsorted(random, own, right=True).double() / len(random)
    return Fit(better, float((cosine.argmax(1) == torch.arange(len(drawn))).double().mean()), len(drawn))


def _crowding(values: Tensor, others: Tensor, rows: Tensor) -> Tensor:
    """Return the mean cosine (N,) of each row of `values` with the ten nearest of `others`, which are of `rows`."""
    found = []
    for first in range(0, len(values), _BLOCK):
        cosine = values[first : first + _BLOCK] @ others.T
        cosine[torch.arange(first, first + len(cosine))[:, None] == rows] = -2.0
        found.append(cosine.topk(min(_NEAR, max(1, len(rows) - 1)), dim=1).values.mean(1))
    return torch.cat(found)


def nearest(values: Tensor, k: int = _NEAR) -> tuple[Tensor, Tensor]:
    """Return the k nearest other rows of each row, int64 and float32 (N, min(k, N - 1)), of unit vectors (N, D)."""
    rows, cosines = [], []
    for first in range(0, len(values), _BLOCK):
        cosine = values[first : first + _BLOCK] @ values.T
        own = torch.arange(len(cosine))
        cosine[own, own + first] = -2.0
        best = cosine.topk(min(k, len(values) - 1), dim=1)
        rows.append(best.indices)
        cosines.append(best.values)
    return torch.cat(rows), torch.cat(cosines)


def groups(one: Tensor, other: Tensor) -> list[list[int]]:
    """Return the rows that pairs (P,) join, as groups of ascending rows, in the order of their first rows."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    found: dict[int, list[int]] = {}
    for row in sorted(parent):
        found.setdefault(root(row), []).append(row)
    return list(found.values())
