"""Small dense problems in float64: whitening with a rank, the order and sign of components."""

from __future__ import annotations

import torch
from torch import Tensor

_PIVOT = 1e-10  # a column of which less than this share is left by the columns before it is dependent on them
_RANK = 1e-10  # eigenvalues of the correlation matrix below this share of the largest are numerical zeros
_CONSTANT = 1e-26  # variance, as a share of the squared mean, that rounding alone explains


def whitener(covariance: Tensor, mean: Tensor | None = None) -> Tensor:
    """Return W (d, rank) with W' C W = I for a covariance C (d, d), float64.

    The inverse Cholesky factor where C has full rank. Otherwise from the eigenvectors of the correlation matrix without
    its numerical zeros, so that duplicate and constant columns get finite weights, and the units of columns do not
    matter. `mean` (d,) tells what variance of a column is rounding.
    """
    variance = covariance.diagonal()
    floor = 0.0 if mean is None else _CONSTANT * mean.square()
    alive = variance > floor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if not int(failed) and bool(alive.all()) and bool((factor.diagonal().square() > _PIVOT * variance).all()):
        identity = torch.eye(len(variance), dtype=covariance.dtype, device=covariance.device)
        inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
        return inverse.T
    scale = torch.where(alive, variance, torch.ones_like(variance)).rsqrt() * alive
    values, vectors = torch.linalg.eigh(scale[:, None] * covariance * scale)
    kept = values > _RANK * values[-1].clamp(min=torch.finfo(values.dtype).tiny)
    root: Tensor = scale[:, None] * vectors[:, kept] * values[kept].rsqrt()
    return root


def positive_signs(leading: Tensor) -> Tensor:
    """Return the sign (k,) that makes the entry of largest magnitude of each column of leading (d, k) positive."""
    if leading.shape[1] == 0:
        return leading.new_ones(0)
    largest = leading.gather(0, leading.abs().argmax(0, keepdim=True))[0]
    return torch.where(largest < 0, -1.0, 1.0).to(leading)
