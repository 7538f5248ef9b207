"""k-means over all processes: the same clusters whatever the number of processes.

Lloyd's iterations (Lloyd, IEEE Trans. Inf. Theory 1982) on features that are divided over the processes in any way, and
that may lie in a memory-mapped file: they are walked in blocks. Sums are taken in fixed point, as 64-bit integers, so
that they are exact and the order of summing cannot matter; a float32 sum stops growing at 2**24 points. Seeds are drawn
from keys of (seed, row). Labels are therefore equal to the bit for 1, 2 or 4 processes unless a point lies as far from
two centroids to the last digits of float64.

Features are centred first, so that a common offset costs no digits. The nearest centroid is looked for in float32 and
once more in float64 where float32's rounding could have chosen; sums follow the rows that change their cluster, and
rows whose centroid has not moved are compared with those that have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coview.errors import UsageError
from coview.objectives.kmeans_rows import DIGITS, Labels, Rows, Sums
from coview.objectives.precision import in_float32
from coview.parallel import gather, sum_with_grad
from coview.randomness import make_key, uniform

SEED_ROWS = 64  # rows per cluster that seeds are chosen among


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """What k-means found; everything but `labels` is the same on every process.

    Attributes:
        centroids: float64 (K, D); of unit length where the clustering was spherical.
        labels: int64 (N_r,), the nearest centroid of each of this process's rows.
        counts: int64 (K,), rows of all processes in each cluster.
        inertia: sum over all rows of the squared distance to the own centroid.
        iterations: Lloyd iterations made, the last, in which no label changed, included.
    """

    centroids: Tensor
    labels: Tensor
    counts: Tensor
    inertia: float
    iterations: int


@torch.no_grad()
def kmeans(
    x: Tensor | Sequence[Tensor],
    clusters: int,
    *,
    seed: int,
    row: Tensor | None = None,
    index: Tensor | None = None,
    start: Tensor | None = None,
    iterations: int = 100,
    unit: bool = False,
    spherical: bool = False,
    empty: Literal["reseed", "keep"] = "reseed",
    device: torch.device | str | None = None,
) -> Clusters:
    """Cluster the rows of all processes, until no label changes or for `iterations`.

    An empty cluster takes the row farthest from its own centroid, the second empty one the second farthest, and so on,
    of the rows of all processes (ties: the lower row), or keeps its centroid.

    Args:
        x: this process's features (N_r, D), any floating type, on any device or memory-mapped; N_r may be 0. Several
            tensors (N_r, D_i) are joined side by side, a block of rows at a time.
        clusters: K, at most the number of rows of all processes.
        seed: of the first centroids (k-means++), where `start` does not give them.
        row: int64 (N_r,), the rows' numbers in the collection, each once over all processes; None: x holds all rows of
            the processes one after another, in order of rank.
        index: int64 (N_r,), where this process's rows lie in x, when x holds others too; `row` is then the same unless
            it is given.
        start: (K, D), the first centroids, the same on every process.
        unit: every tensor's rows are brought to unit length first, so that joined ones weigh the same.
        spherical: features and centroids are brought to unit length, as in DeepCluster-v2 (arXiv 2006.09882).
        device: where blocks are computed and results lie; None: where x lies.

    Raises:
        UsageError: fewer rows than clusters, or features that are not finite.
    """
    parts = [x] if isinstance(x, Tensor) else list(x)
    rows = Rows(parts, index, unit, spherical, torch.device(device) if device is not None else parts[0].device)
    row = rows.numbers() if row is None and index is None else _first(row, index).to(rows.device)
    rows.centre(row)
    total, largest = rows.survey()
    if total < clusters:
        raise UsageError(f"{clusters} clusters need at least as many recordings, found {total}")
    if not math.isfinite(largest):
        raise UsageError("k-means: the features hold values that are not finite; look at the run's loss and data")
    bits = min(62 - max(total - 1, 1).bit_length(), DIGITS)  # a sum of all rows fits 63 bits
    scale = 2.0 ** (bits - 1 - math.frexp(largest)[1])  # a power of two: scaling costs no digits
    centroids = _seeds(rows, row, clusters, seed) if start is None else start.to(rows.offset) - rows.offset
    centroids = rows.unit_length(centroids)
    nearest, sums = Labels(rows), Sums(rows, clusters, scale)
    made, converged = 0, False
    while made < iterations and not converged:
        labels = nearest.follow(centroids)
        made += 1
        converged = not sums.follow(labels)
        if not converged:
            total_sums, counts = sums.everyone()
            if empty == "reseed" and not bool(counts.all()):
                _reseed(rows, row, labels, _distances(rows, centroids, labels), total_sums, counts, scale)
            means = total_sums.double() / counts.clamp(min=1)[:, None] / scale
            centroids = rows.unit_length(torch.where(counts[:, None] > 0, means, centroids))
    if not converged:
        labels = nearest.follow(centroids)
    counts = sum_with_grad(torch.bincount(labels, minlength=clusters))
    inertia = float(sum_with_grad(_distances(rows, centroids, labels).sum()))
    return Clusters(centroids=centroids + rows.offset, labels=labels, counts=counts, inertia=inertia, iterations=made)


@torch.no_grad()
def assign(x: Tensor, centroids: Tensor, *, spherical: bool = False) -> tuple[Tensor, Tensor]:
    """Return for rows x (N, D) the nearest of centroids (K, D), int64 (N,), and its squared distance, float64 (N,).

    Of several equally near ones the first. Computed where the centroids lie.
    """
    rows = Rows([x], None, False, spherical, centroids.device)
    rows.offset = centroids.double().mean(0)
    centred = centroids.double() - rows.offset
    labels = Labels(rows).follow(centred)
    return labels, _distances(rows, centred, labels)


@torch.no_grad()
def seeds(x: Tensor, clusters: int, *, seed: int, row: Tensor | None = None, spherical: bool = False) -> Tensor:
    """Choose K rows of all processes by k-means++ (Arthur & Vassilvitskii, SODA 2007); float64 (K, D), the same on all.

    They are chosen among 64 K rows, or all where there are fewer: those whose keys of (seed, row) are lowest. The next
    seed is drawn with a probability proportional to the squared distance to the nearest seed so far.
    """
    rows = Rows([x], None, False, spherical, x.device)
    row = rows.numbers() if row is None else row
    rows.centre(row)
    return _seeds(rows, row, clusters, seed) + rows.offset


def _first(*choices: Tensor | None) -> Tensor:
    return next(choice for choice in choices if choice is not None)


def _distances(rows: Rows, centroids: Tensor, labels: Tensor) -> Tensor:
    """Return the squared distance of each row to its own centroid, float64 (N_r,)."""
    found = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for place in rows.places():
        found[place] = (rows.take(place) - centroids[labels[place]]).square().sum(1)
    return found


def _seeds(rows: Rows, row: Tensor, clusters: int, seed: int) -> Tensor:
    wanted = SEED_ROWS * clusters
    order, mine = make_key(seed, row).sort()
    keys = gather(order[:wanted])
    candidates = gather(rows.take(mine[:wanted]))[keys.argsort()[:wanted]]
    if candidates.shape[0] < clusters:
        raise UsageError(f"{clusters} clusters need at least as many recordings, found {candidates.shape[0]}")
    return candidates[_plus_plus(candidates, clusters, seed)]


@in_float32
def _plus_plus(x: Tensor, clusters: int, seed: int) -> list[int]:
    """Choose K of the rows x (N, D), each with a probability proportional to its squared distance to those before it.

    Several are drawn at once by the distances so far. One that those accepted meanwhile have come nearer to by a factor
    f is kept with probability f, which gives the same odds as one draw after another (rejection sampling).
    """
    x = (x / torch.stack(torch.aminmax(x)).abs().max().clamp(min=1e-300)).float()  # squares that do not overflow
    sizes, taken = x.square().sum(1), list[int]()
    weight = torch.ones(len(x), dtype=torch.float64, device=x.device)
    draws = 0
    while len(taken) < clusters:
        key = make_key(seed, draws).to(x.device)
        draws += 1
        ahead = min(max(len(taken) // 4, 1), clusters - len(taken))
        place = uniform(key, 0, ahead).double() + uniform(key, 1, ahead).double() / 2**24  # 48 bits
        until = weight.cumsum(0)
        drawn = torch.searchsorted(until, place * until[-1], right=True)
        apart = torch.addmm(sizes + sizes[drawn, None], x[drawn], x.T, alpha=-2).double().clamp(min=1e-300)
        now = weight
        for row, kept, distance in zip(drawn.tolist(), uniform(key, 2, ahead).tolist(), apart, strict=True):
            if kept * float(weight[row]) < float(now[row]):
                taken.append(row)
                now = torch.minimum(now, distance) if len(taken) > 1 else distance
                now[taken] = 0  # each once, whatever rounding leaves
        weight = now
    return taken


def _reseed(
    rows: Rows, row: Tensor, labels: Tensor, distance: Tensor, sums: Tensor, counts: Tensor, scale: float
) -> None:
    """Move the rows farthest from their centroids, one each, into the empty clusters' sums and counts."""
    holes = torch.nonzero(counts == 0).flatten()
    # Farthest first, and of equals the lower row: two stable sorts.
    by_row = row.argsort()
    mine = by_row[distance[by_row].argsort(descending=True, stable=True)][: holes.numel()]
    far, place, donor = gather(distance[mine]), gather(row[mine]), gather(labels[mine])
    moved = (gather(rows.take(mine)) * scale).round().long()
    by_row = place.argsort()
    order = by_row[far[by_row].argsort(descending=True, stable=True)]
    for hole, index in zip(holes.tolist(), order.tolist(), strict=False):
        for cluster, sign in ((hole, 1), (int(donor[index]), -1)):
            sums[cluster] += sign * moved[index]
            counts[cluster] += sign
