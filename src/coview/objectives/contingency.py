"""How two divisions of the same samples agree: mutual information, purity, the best one-to-one matching."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def contingency(first: Tensor, second: Tensor) -> Tensor:
    """Return int64 (A, B): the samples with label a in first (N,) and b in second (N,), none negative."""
    known = (first >= 0) & (second >= 0)
    first, second = first[known], second[known]
    if not first.numel():
        return torch.zeros(0, 0, dtype=torch.int64, device=first.device)
    rows, columns = int(first.max()) + 1, int(second.max()) + 1
    return torch.bincount(first * columns + second, minlength=rows * columns).view(rows, columns)


def nmi(first: Tensor, second: Tensor) -> float:
    """Return the mutual information of two labellings over the mean of their entropies, from 0 to 1.

    int64 (N,) each; negative labels are left out. 0 where both are constant: there is nothing to agree about.
    """
    table = contingency(first, second).double()
    joint = table / table.sum().clamp(min=1)
    entropy = [_entropy(joint.sum(axis)) for axis in (0, 1)] if joint.numel() else [0.0, 0.0]
    shared = sum(entropy) - _entropy(joint.flatten())
    return max(0.0, 2 * shared / sum(entropy)) if sum(entropy) > 0 else 0.0


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


def _entropy(p: Tensor) -> float:
    return -float(torch.special.xlogy(p, p).sum())
