"""VICReg: views agree, every dimension keeps its spread, dimensions stay uncorrelated.

Bardes, Ponce & LeCun 2022 (arXiv 2105.04906), equations 1 to 6, over the N rows of all processes, D dimensions:

    invariance = mean_{n,d} (x_nd - y_nd)^2
    variance   = (v(x) + v(y)) / 2,  v(x) = mean_d max(0, 1 - sqrt(Var_d(x) + 1e-4))
    covariance = c(x) + c(y),        c(x) = sum_{i != j} C_ij(x)^2 / D,  C = covariance matrix, divisor N - 1
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather_with_grad, mean_over_world, reduced_moments, row_counts


@in_float32
def vicreg(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return invariance, variance and covariance, unweighted, of x and y (N_r, D); at least two rows in all.

    Invariance is this process's share of the global mean; the other two are the same on every process.
    """
    variance_x, covariance_x = _spread(x)
    variance_y, covariance_y = _spread(y)
    invariance = mean_over_world((x - y).square().mean(1))
    return invariance, (variance_x + variance_y) / 2, covariance_x + covariance_y


def _spread(x: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = sum(row_counts(x)), x.shape[1]
    if rows < columns:
        # sum_ij C_ij^2 = |X X'|_F^2 / (N-1)^2 for centred X: N^2 D operations where C itself costs N D^2.
        centred = gather_with_grad(x)
        centred = centred - centred.mean(0)
        variance = centred.square().sum(0) / (rows - 1)
        off = (centred @ centred.T).square().sum() / (rows - 1) ** 2 - variance.square().sum()
    else:
        _, _, matrix = reduced_moments(x, covariance=True)
        variance = matrix.diagonal()
        off = (matrix - variance.diag()).square().sum()
    return torch.relu(1 - torch.sqrt(variance + 1e-4)).mean(), off / columns
