"""Nonlinear orthogonal iterations (NOI): each view regresses on the other's whitened output, in small batches.

Wang, Arora, Livescu & Srebro, Stochastic optimization for deep CCA via nonlinear orthogonal iterations (Allerton 2015):

    S <- rho S + (1 - rho) G'G / n        running second moment of a view's centred outputs G
    target of the other view = G (S + r I)^-1/2, without gradient
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import reduced_moments


@in_float32
@torch.no_grad()
def update_scatter(scatter: Tensor, outputs: Tensor, rho: float) -> Tensor:
    """Return rho S + (1 - rho) G'G / n, float64 (D, D), of the outputs G (N_r, D) of all processes, centred."""
    count, _, covariance = reduced_moments(outputs.double(), covariance=True)
    return rho * scatter.double() + (1 - rho) * covariance * (count - 1) / count.clamp(min=1)


@in_float32
@torch.no_grad()
def whitened_targets(outputs: Tensor, scatter: Tensor, ridge: float) -> Tensor:
    """Return this process's rows of G (S + r I)^-1/2, (N_r, D), centred over all processes, without gradient."""
    values, vectors = torch.linalg.eigh(scatter.double())
    root = (vectors / torch.sqrt(values.clamp(min=0) + ridge)) @ vectors.mT
    _, mean, _ = reduced_moments(outputs.double())
    targets: Tensor = ((outputs.double() - mean) @ root).to(outputs.dtype)
    return targets
