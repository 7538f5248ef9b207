"""Dimension by dimension and row by row: the simple relatives of total correlation.

Wang, Arora, Livescu & Bilmes, On Deep Multi-View Representation Learning (ICML 2015): CorrAE, DistAE-1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import mean_over_world, reduced_moments, sum_with_grad

_TINY = 1e-24  # under the root: a dimension that stands still has correlation 0 and a finite gradient


@in_float32
def paired_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return sum_j corr(x_j, y_j) of x and y (N_r, D) over all processes' rows, the same on every process.

    CorrAE's term: each dimension has unit variance, but dimensions of one view may be copies of each other.
    """
    count, mean, variance = reduced_moments(torch.cat([x, y], 1).double())
    wide = x.shape[1]
    centred_x, centred_y = x - mean[:wide], y - mean[wide:]
    covariance = sum_with_grad((centred_x * centred_y).sum(0)) / (count - 1).clamp(min=1)
    return (covariance / torch.sqrt(variance[:wide] * variance[wide:] + _TINY)).sum().to(x.dtype)


@in_float32
def relative_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return this process's share of mean_i |x_i - y_i|^2 / (|x_i|^2 + |y_i|^2), x and y (N_r, D): DistAE-1's term.

    0 for equal rows, 2 for opposite ones; it sees no scale.
    """
    size = x.square().sum(1) + y.square().sum(1)
    return mean_over_world((x - y).square().sum(1) / (size + _TINY))


@in_float32
def squared_error(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Return |x_i - r_i|^2 of every row (N_r,), summed over all that a row holds."""
    return (x - reconstruction).square().flatten(1).sum(1)
