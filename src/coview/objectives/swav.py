"""SwAV's swapped prediction, the code of one crop predicted from every other crop, and its queue.

Caron et al. 2020 (arXiv 2006.09882), equation 2 and section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coview.objectives.precision import in_float32
from coview.parallel import gather, rank, world_size


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


class CodeQueue(nn.Module):
    """The newest embeddings of every assigned crop, which make small batches large enough for balanced codes.

    State under another number of processes: replicate. Every process holds all rows, newest first, and brings its own
    share of them into the assignment, so that each row counts once.

    Attributes:
        embeddings: (A, M, D), zeros where nothing was pushed yet.
        filled: int64, rows pushed so far, at most M.
    """

    embeddings: Tensor
    filled: Tensor

    def __init__(self, crops: int, rows: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(crops, rows, dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def share(self) -> Tensor:
        """Return this process's part (A, M_r, D) of the rows; M_r is 0 until the queue is full."""
        rows = self.embeddings.shape[1]
        if int(self.filled) < rows:
            return self.embeddings[:, :0]
        first, last = (rows * (rank() + step) // world_size() for step in (0, 1))
        return self.embeddings[:, first:last]

    @torch.no_grad()
    def push(self, z: Tensor) -> None:
        """Take in all processes' embeddings z (A, N_r, D), in order of rank; the oldest fall off."""
        fresh = gather(z.transpose(0, 1)).transpose(0, 1).to(self.embeddings.dtype)
        rows = self.embeddings.shape[1]
        self.embeddings.copy_(torch.cat([fresh, self.embeddings], 1)[:, :rows])
        self.filled.add_(fresh.shape[1]).clamp_(max=rows)
