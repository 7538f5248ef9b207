"""SwAV's swapped prediction: the code of one crop is predicted from every other crop.

Caron et al. 2020 (arXiv 2006.09882), equation 2 and section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from coview.objectives.precision import in_float32


@in_float32
def swapped_prediction(scores: Tensor, codes: Tensor, assigned: Sequence[int], temperature: float) -> Tensor:
    """Return every sample's loss (N,): the mean over assigned crops a of the mean over the other crops v of

        -sum_k codes_a[k] log softmax(scores_v / temperature)[k]

    Args:
        scores: (V, N, K), cosines of the embeddings of V crops with K prototypes.
        codes: (A, N, K), the codes of the crops `assigned`, in that order; constants.
        assigned: positions of those crops among the V.
        temperature: 0.1 in SwAV.
    """
    crops = scores.shape[0]
    log_p = torch.log_softmax(scores / temperature, dim=2)
    total = log_p.new_zeros(scores.shape[1])
    for code, own in zip(codes.detach(), assigned, strict=True):
        others = [crop for crop in range(crops) if crop != own]
        total = total - (code * log_p[others].sum(0)).sum(1)
    return total / (len(assigned) * (crops - 1))


@in_float32
def cluster_prediction(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return every sample's loss (N,) of DeepCluster-v2: the mean over crops of the cross-entropy with its cluster.

    Args:
        scores: (V, N, K), cosines with the centroids.
        labels: int64 (N,); a sample with -1 has no cluster yet and costs nothing.
        temperature: 0.1.
    """
    crops, rows, clusters = scores.shape
    every = labels.repeat(crops)
    losses = cross_entropy(scores.reshape(-1, clusters) / temperature, every, ignore_index=-1, reduction="none")
    return losses.view(crops, rows).mean(0)
