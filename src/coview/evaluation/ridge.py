"""Ridge regression with its penalty chosen by folds of recordings, and what is said of predictions over time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from coview.evaluation.statistics import resampled_counts
from coview.randomness import make_key, uniform

PENALTIES = tuple(10.0**power for power in range(-6, 3))  # of standardised features, times the number of rows
FOLDS = 5
_ROUNDING = 1e-12  # share of the mean square below which a variance is rounding alone
_DEALT = 0x72696467  # stream of the folds


def ridge_paths(x: Tensor, y: Tensor, z: Tensor, penalties: Sequence[float] = PENALTIES) -> Tensor:
    """Return what ridge regressions (Hoerl & Kennard 1970) of y (N, K) on x (N, D) say of z (M, D): (P, M, K).

    They minimise |y - x w - b|^2 / N + penalty |w|^2, where columns of x have mean 0 and deviation 1 in these N rows;
    a column that is constant in them is not used.
    """
    centre, scale = x.mean(0), x.std(0, correction=0)
    scale = torch.where(scale > 1e-9 * centre.abs().clamp(min=1e-30), scale, torch.inf)
    x, z, middle = (x - centre) / scale, (z - centre) / scale, y.mean(0)
    spread, axes = torch.linalg.eigh(x.T @ x / len(x))
    told, asked = axes.T @ (x.T @ (y - middle) / len(x)), z @ axes
    return torch.stack([middle + asked @ (told / (spread.clamp(min=0)[:, None] + each)) for each in penalties])


def folds_of(groups: Tensor, seed: int, count: int = FOLDS) -> Tensor:
    """Return the fold (N,) of every row: rows of one group (N,) share it; fewer folds where there are fewer groups."""
    found, which = torch.unique(groups, return_inverse=True)
    order = torch.argsort(uniform(make_key(seed, found), _DEALT), stable=True)
    fold = torch.empty_like(found)
    fold[order] = torch.arange(len(found)) % min(count, len(found))
    return fold[which]


def chosen_ridge(x: Tensor, y: Tensor, groups: Tensor, z: Tensor, seed: int) -> tuple[Tensor, list[float]]:
    """Return predictions (M, K) for z (M, D) and each target's penalty, with the least error over folds of groups (N,).

    There must be two groups or more.
    """
    folds = folds_of(groups, seed)
    error = torch.zeros(len(PENALTIES), y.shape[1], dtype=y.dtype)
    for fold in torch.unique(folds):
        held = folds == fold
        error += (ridge_paths(x[~held], y[~held], x[held]) - y[held]).square().sum(1)
    best = error.argmin(0)
    paths = ridge_paths(x, y, z)
    return paths[best, :, torch.arange(y.shape[1])].T, [PENALTIES[each] for each in best.tolist()]


def agreement(sums: Tensor) -> dict[str, Tensor]:
    """Return "pearson", "ccc" and "rmse" (...) of sums (..., 6): of 1, p, t, pp, tt, pt over predictions p and truth t.

    ccc: Lin's concordance, 2 cov(p, t) / (var p + var t + (mean p - mean t)^2) (Biometrics 1989), which unlike the
    correlation counts a wrong scale or level. Both are 0 where predictions or truth are constant.
    """
    n, p, t, pp, tt, pt = sums.unbind(-1)
    var_p, var_t = pp / n - (p / n).square(), tt / n - (t / n).square()
    varies = (var_p > _ROUNDING * pp / n) & (var_t > _ROUNDING * tt / n)
    shared, apart = pt / n - p * t / n.square(), (p / n - t / n).square()
    return {
        "pearson": torch.where(varies, shared / torch.where(varies, var_p * var_t, 1.0).sqrt(), 0.0).clamp(-1, 1),
        "ccc": torch.where(varies, 2 * shared / torch.where(varies, var_p + var_t + apart, 1.0), 0.0),
        "rmse": ((pp + tt - 2 * pt) / n).clamp(min=0).sqrt(),
    }


def sums_by_group(predicted: Tensor, truth: Tensor, groups: Tensor) -> Tensor:
    """Return the sums (G, 6) that `agreement` takes, a row for each group of predictions (M,).

    Both are counted from the truth's mean: no agreement depends on where 0 lies, but small variances of large numbers
    would be lost in rounding.
    """
    one, middle = torch.ones_like(truth), truth.mean()
    predicted, truth = predicted - middle, truth - middle
    each = torch.stack([one, predicted, truth, predicted.square(), truth.square(), predicted * truth], 1)
    which = torch.unique(groups, return_inverse=True)[1]
    return torch.zeros(int(which.max()) + 1, 6, dtype=each.dtype).index_add_(0, which, each)


def intervals(sums: Tensor, seed: int) -> dict[str, tuple[float, float] | None]:
    """Return 95 % percentile intervals over resampled groups, of the sums (G, 6) of each; None for a single group."""
    if len(sums) < 2:
        return dict.fromkeys(agreement(sums))
    drawn = [agreement(counts.double() @ sums) for counts in resampled_counts(len(sums), seed)]
    edges = torch.tensor([0.025, 0.975], dtype=torch.float64)
    found = {name: torch.cat([each[name] for each in drawn]).quantile(edges).tolist() for name in drawn[0]}
    return {name: (low, high) for name, (low, high) in found.items()}
