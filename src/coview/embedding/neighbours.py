"""Nearest neighbours among features, by cosine: the vote of the nearest labelled rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.errors import UsageError


def knn_predict(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, *, neighbours: int = 20, block: int = 1024
) -> Tensor:
    """Return the class, int64 (Q,), that most of the nearest training rows have, by cosine similarity.

    Args:
        train: float (N, D) features; `labels`: int64 (N,) in 0..classes-1.
        test: float (Q, D) features.
        classes: number of classes.
        neighbours: how many vote; all of the training rows when they are fewer.
        block: test rows at a time, to bound memory.

    What is not finite is nobody's neighbour: such training rows do not vote, and such test rows get the class -1.

    Raises:
        UsageError: no training row is finite.

    Ties: equally similar neighbours count in the order of the training rows; equal votes go to the class whose
    neighbours are more similar in sum, then to the lower class.
    """
    finite = train.isfinite().all(1)
    gallery, labels = normalize(train[finite].double(), dim=1), labels[finite]
    if not len(gallery):
        raise UsageError("there is no training row with finite features, so that there are no neighbours")
    k = min(neighbours, len(gallery))
    predicted = []
    for part in torch.split(test, block):
        asks = part.isfinite().all(1)
        # Rounded beyond what float32 resolves, so that the size of a block does not decide between equals.
        cosine = normalize(torch.where(asks[:, None], part, 0.0).double(), dim=1) @ gallery.T
        similarity = cosine.mul(1e12).round().div(1e12)
        near = torch.sort(similarity, dim=1, descending=True, stable=True)
        voters = labels[near.indices[:, :k]]
        votes = torch.zeros(part.shape[0], classes, dtype=torch.float64)
        votes.scatter_add_(1, voters, torch.ones_like(voters, dtype=torch.float64))
        weight = torch.zeros_like(votes).scatter_add_(1, voters, near.values[:, :k])
        # Cosines sum to at most k in size, so this term decides between equal votes only.
        winner = (votes + weight / (2 * k + 1)).argmax(1)
        predicted.append(torch.where(asks, winner, -1))
    return torch.cat(predicted)
