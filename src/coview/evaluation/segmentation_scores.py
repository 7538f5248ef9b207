"""Mean intersection over union of the classes of pixels, background among them, with an interval over pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from coview.data.scenes import VOID
from coview.errors import UsageError
from coview.evaluation.statistics import Measurement, resampled_counts


def confusion(said: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Return how many pixels of each true class (rows) were said to be of each class: int64 (classes, classes).

    Args:
        said, truth: integers of one shape; truth 255 does not count.
        classes: background among them.

    Raises:
        UsageError: the shapes differ, or a class is none of `classes`.
    """
    if said.shape != truth.shape:
        shapes = f"{tuple(said.shape)} and {tuple(truth.shape)}"
        raise UsageError(f"expected a class for every pixel of the mask, found {shapes}")
    counts = truth != VOID
    pairs = truth[counts].long(), said[counts].long()
    if any(bool(((values < 0) | (values >= classes)).any()) for values in pairs):
        raise UsageError(f"a mask names a class that is none of 0 to {classes - 1}, and not {VOID}")
    return torch.bincount(pairs[0] * classes + pairs[1], minlength=classes**2).reshape(classes, classes)


def intersection_over_union(table: Tensor) -> Tensor:
    """Return TP / (TP + FP + FN) of every class, float64 (..., C), of tables (..., C, C); NaN where there is none."""
    both = table.diagonal(dim1=-2, dim2=-1).double()
    return both / (table.sum(-1) + table.sum(-2) - both)


def mean_iu(what: str, name: str, tables: Tensor, seed: int) -> Measurement:
    """Return "<what>_miu/<name>" of the tables (pictures, C, C): the mean over classes that are there or were said.

    Pixels of all pictures are counted together; the interval is over resampled pictures. Chance is the best answer
    that is the same everywhere.
    """
    n, classes, _ = tables.shape
    if not n or not int(tables.sum()):
        raise UsageError(f"{what}: there is no pixel to measure it on")
    whole = tables.sum(0)
    value = float(intersection_over_union(whole).nanmean())
    flat = tables.flatten(1).double()
    drawn = []
    for counts in resampled_counts(n, seed):
        table = (counts.double() @ flat).reshape(-1, classes, classes)
        drawn.append(intersection_over_union(table).nanmean(1))
    low, high = torch.cat(drawn).nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    share = whole.sum(1).double() / whole.sum()
    chance = float(share.max() / (share > 0).sum())
    return Measurement(f"{what}_miu/{name}", value, low, high, chance, n)
