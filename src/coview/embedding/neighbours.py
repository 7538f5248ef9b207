"""Nearest neighbours among features, by cosine: the vote of the nearest labelled rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


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

    Ties: equally similar neighbours count in the order of the training rows; equal votes go to the class whose
    neighbours are more similar in sum, then to the lower class.
    """
    gallery = normalize(train.double(), dim=1)
    k = min(neighbours, train.shape[0])
    predicted = []
    for part in torch.split(test, block):
        similarity = normalize(part.double(), dim=1) @ gallery.T
        near = torch.sort(similarity, dim=1, descending=True, stable=True)
        voters = labels[near.indices[:, :k]]
        votes = torch.zeros(part.shape[0], classes, dtype=torch.float64)
        votes.scatter_add_(1, voters, torch.ones_like(voters, dtype=torch.float64))
        weight = torch.zeros_like(votes).scatter_add_(1, voters, near.values[:, :k])
        # Cosines sum to at most k in size, so this term decides between equal votes only.
        predicted.append((votes + weight / (2 * k + 1)).argmax(1))
    return torch.cat(predicted)
