"""More like this, less like that: a query moved by hits that were judged."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

MORE, LESS = 0.75, 0.25  # Rocchio's usual weights (Manning et al., Introduction to Information Retrieval, 9.1.1)
ENOUGH = 5  # of each kind, from which on a classifier says more than a mean


def refined(query: Tensor, liked: Tensor, disliked: Tensor) -> Tensor:
    """Return the direction (D,), of length 1, that stands for a query after some hits were liked and others not.

    unit(query + .75 mean(liked) - .25 mean(disliked)), without the mean of what there is none of; where there are five
    of each, the normal of the plane by which logistic regression, both kinds weighing the same, tells them apart.

    Args:
        query: float (D,), any length but zero.
        liked: float (L, D), of length 1, L >= 0; `disliked`: float (M, D), likewise.
    """
    if min(len(liked), len(disliked)) >= ENOUGH:
        return _normal(liked, disliked)
    moved = normalize(query.double(), dim=0)
    if len(liked):
        moved = moved + MORE * liked.double().mean(0)
    if len(disliked):
        moved = moved - LESS * disliked.double().mean(0)
    return normalize(moved, dim=0).to(query.dtype)


def _normal(liked: Tensor, disliked: Tensor) -> Tensor:
    from sklearn.linear_model import LogisticRegression

    vectors = torch.cat([liked, disliked]).double().numpy()
    likes = np.arange(len(vectors)) < len(liked)
    plane = LogisticRegression(class_weight="balanced", max_iter=1000).fit(vectors, likes)
    return normalize(torch.from_numpy(plane.coef_[0]), dim=0).to(liked.dtype)
