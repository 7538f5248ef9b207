"""MCN's clusters: assigned by the cosine, centred by the plain mean, and the loss that pulls every view to them.

Chen et al., "Multimodal Clustering Networks", ICCV 2021 (arXiv 2104.12671). Spherical k-means would take the mean of
unit vectors; here long vectors weigh more.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from coview.objectives.precision import in_float32


@torch.no_grad()
def nearest_by_cosine(points: Tensor, centroids: Tensor) -> Tensor:
    """Return for points (M, D) the centroid (K, D) of the largest cosine, int64 (M,); of several the first."""
    return (normalize(points.double(), dim=1) @ normalize(centroids.double(), dim=1).T).argmax(1)


@torch.no_grad()
def cosine_lloyd(
    points: Tensor, centroids: Tensor, iterations: int = 100, tolerance: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Return the labels int64 (M,) of the last assignment and the centroids float64 (K, D) that follow from it.

    Ends when the squared shift of all centroids together is below `tolerance`. A cluster without points takes the point
    of the smallest cosine with its own centroid, the next one the second smallest (ties: the lower row).

    Args:
        points: (M, D), the same on all processes, M >= K.
        centroids: (K, D), where to start.
    """
    points, centroids = points.double(), centroids.double()
    labels = nearest_by_cosine(points, centroids)
    for _ in range(iterations):
        labels = nearest_by_cosine(points, centroids)
        counts = labels.bincount(minlength=len(centroids))
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            cosine = (normalize(points, dim=1) * normalize(centroids, dim=1)[labels]).sum(1)
            # A cluster of one keeps its point: taking it would only empty another.
            cosine = cosine.masked_fill(counts[labels] == 1, torch.inf)
            labels[cosine.argsort(stable=True)[: len(empty)]] = empty
            counts = labels.bincount(minlength=len(centroids))
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        before = centroids
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], before)
        if float((centroids - before).square().sum()) < tolerance:
            break
    return labels, centroids


@in_float32
def cluster_loss(x: Tensor, centroids: Tensor, label: Tensor, margin: float = 0.001) -> Tensor:
    """Return the cross-entropy (N,) of x (N, D) with constant centroids (K, D); the margin is on the own cluster."""
    scores = x @ centroids.detach().to(x.dtype).T
    scores = scores.scatter_add(1, label[:, None], torch.full_like(scores[:, :1], -margin))
    return cross_entropy(scores, label, reduction="none")
