"""How well clusters fit known classes: purity, best one-to-one matching, mutual information."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from coview.objectives.contingency import contingency, nmi

__all__ = ["contingency", "matched_accuracy", "nmi", "purity", "used"]


def purity(clusters: Tensor, labels: Tensor) -> float:
    """Return the share of samples that belong to their cluster's most frequent class; int64 (N,) each, negative: none.

    It grows with the number of clusters: with one sample in each it is 1.
    """
    table = contingency(clusters, labels)
    return float(table.max(1).values.sum().double() / table.sum()) if table.numel() else 0.0


def matched_accuracy(clusters: Tensor, labels: Tensor) -> float:
    """Return the share of samples that are right when clusters and classes are matched one to one in the best way.

    The matching is Kuhn's (Naval Research Logistics Quarterly, 1955); clusters that are left over count as wrong.
    """
    table = contingency(clusters, labels)
    if not table.numel():
        return 0.0
    rows, columns = linear_sum_assignment(table.cpu().numpy(), maximize=True)
    return float(table[torch.from_numpy(rows), torch.from_numpy(columns)].sum().double() / table.sum())


def used(clusters: Tensor, number: int) -> float:
    """Return the share of `number` clusters that have a sample."""
    known = clusters[clusters >= 0]
    return float((torch.bincount(known, minlength=number) > 0).double().mean())
