"""Fixed codes as what is learnt: a cluster whose far members are thrown away, or bits.

Owens et al., "Ambient sound provides supervision for visual learning", ECCV 2016 (arXiv 1608.07017): members farther
from their centroid than the median are no examples; bits are learnt independently of each other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from coview.objectives.kmeans import assign
from coview.objectives.precision import in_float32


@torch.no_grad()
def nearest(x: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return of rows x (N, D) the nearest of centroids (K, D), int64 (N,), and the distance to it, float64 (N,)."""
    label, squared = assign(x, centroids)
    return label, squared.sqrt()


@torch.no_grad()
def median_distances(distance: Tensor, label: Tensor, clusters: int, each: bool) -> Tensor:
    """Return how far a member of each cluster may be, (K,): the median of all distances, or of its own cluster's.

    One median for all keeps clusters that are dense and may empty diffuse ones; one for each keeps half of everyone.
    A cluster without members gets 0.

    Args:
        distance, label: (N,), of the examples that clusters were fitted on.
    """
    if not each:
        return medians(distance).expand(clusters).clone()
    own = [distance[label == cluster] for cluster in range(clusters)]
    return torch.stack([medians(members) if len(members) else distance.new_zeros(()) for members in own])


@in_float32
def cluster_cost(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cross-entropy (N,) of logits (N, K) and clusters int64 (N,)."""
    return cross_entropy(logits, label, reduction="none")


@in_float32
def bit_cost(logits: Tensor, bits: Tensor) -> Tensor:
    """Return the cross-entropy (N,), summed over the bits, of logits (N, B) and bits (N, B), bool."""
    return binary_cross_entropy_with_logits(logits, bits.to(logits.dtype), reduction="none").sum(1)


def medians(x: Tensor) -> Tensor:
    """Return the median (...) of every column of x (N, ...), of an even number the mean of both in the middle."""
    ordered = x.sort(dim=0).values
    return (ordered[len(x) // 2] + ordered[(len(x) - 1) // 2]) / 2
