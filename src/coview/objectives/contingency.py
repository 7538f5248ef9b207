"""How two divisions of the same samples into clusters agree."""

from __future__ import annotations

import torch
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


def _entropy(p: Tensor) -> float:
    return -float(torch.special.xlogy(p, p).sum())
