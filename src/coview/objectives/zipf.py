"""How closely the sizes of clusters follow Zipf's law: a measure of features that asks for no labels.

Piergiovanni, Angelova & Ryoo, "Evolving Losses for Unsupervised Video Representation Learning", CVPR 2020 (arXiv
2002.12177): where things in the world follow Zipf's law, clusters of good features do. Centroids c_i are found by
k-means; a feature x belongs to one with the posterior of equal, isotropic Gaussians with 2 sigma^2 = 1,

    p(c_i | x) = exp(-|x - c_i|^2) / sum_j exp(-|x - c_j|^2),    p(c_i) = mean over x,

and p, ranked from the largest down, is compared with q_i = i^-s / sum_j j^-s by KL(p || q). Lower is better. Sizes say
nothing of what lies in the clusters: noise whose clusters are of Zipf's sizes scores as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from coview.objectives.kmeans import Clusters, kmeans
from coview.objectives.precision import in_float32

_BLOCK = 2**23  # differences of features and centroids that are held at once
STARTS = 5  # k-means is begun so often, and its best end counts: one start alone is a noisy judge


@dataclass(frozen=True, kw_only=True)
class ZipfFit:
    """How features follow Zipf's law: KL(p || q) of posteriors and of counts, and the clusters (N,) themselves."""

    soft: float
    hard: float
    labels: Tensor


@in_float32
def posterior(x: Tensor, centroids: Tensor) -> Tensor:
    """Return p(c | x) (N, K) of features x (N, D) and centroids (K, D)."""
    return (-(x[:, None] - centroids).square().sum(2)).softmax(1)


def zipf(count: int, exponent: float = 1.0) -> Tensor:
    """Return Zipf's law of `count` ranks, float64 (K,), from the most frequent down; exponent 0 is uniform."""
    weight = torch.arange(1, count + 1, dtype=torch.float64) ** -exponent
    return weight / weight.sum()


@in_float32
def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p || q) of distributions (K,), rank by rank as they stand; what p lacks counts for nothing."""
    return (torch.xlogy(p, p) - p * q.to(p).log()).sum()


def zipf_divergence(p: Tensor, exponent: float = 1.0) -> Tensor:
    """Return KL of shares p (K,), ranked from the largest down, and Zipf's law."""
    return divergence(p.sort(descending=True).values, zipf(len(p), exponent))


@torch.no_grad()
def zipf_fit(x: Tensor, clusters: int, *, seed: int = 0, exponent: float = 1.0) -> ZipfFit:
    """Cluster features and compare the clusters' sizes with Zipf's law.

    Every number of a feature is brought to mean 0 and deviation 1 first, since the posterior knows one scale alone: in
    many dimensions it is then nearly that of the nearest centroid. A number that is the same for all stays 0.

    Args:
        x: (N, D), N at least `clusters`.
        clusters: K.
        seed: of the first centroids, of which `STARTS` are tried.

    Raises:
        UsageError: fewer features than clusters, or some that are not finite.
    """
    x = x.double()
    deviation = x.std(0, correction=0)
    x = torch.where(deviation <= 1e-6 * x.abs().amax(0), 0.0, (x - x.mean(0)) / deviation)
    found: list[Clusters] = [kmeans(x, clusters, seed=STARTS * seed + start) for start in range(STARTS)]
    best = min(found, key=lambda one: one.inertia)
    sizes = best.counts.double() / best.counts.sum()
    blocks = torch.split(x, max(1, _BLOCK // best.centroids.numel()))
    soft = torch.stack([posterior(block, best.centroids).sum(0) for block in blocks]).sum(0) / len(x)
    return ZipfFit(
        soft=float(zipf_divergence(soft, exponent)), hard=float(zipf_divergence(sizes, exponent)), labels=best.labels
    )
