"""Gaussian terms of variational autoencoders, row by row.

Kingma & Welling, Auto-Encoding Variational Bayes (arXiv 1312.6114), appendix B; Wang et al., VCCA (arXiv 1610.03454).
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32

LOG_VARIANCE = 10.0  # log-variances are kept within plus and minus this


@in_float32
def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_variance)) || N(0, I)) of every row (N_r,), summed over the dimensions (N_r, D)."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(1)


@in_float32
def draw(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Return mean + exp(log_variance / 2) noise, all (N_r, D); noise is standard normal."""
    return mean + torch.exp(log_variance / 2) * noise
