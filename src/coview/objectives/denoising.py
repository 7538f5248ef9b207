"""Denoising: what corrupts an input, what a perfect linear denoiser does, and the two reconstruction losses.

Vincent, Larochelle, Bengio & Manzagol, ICML 2008; with Lajoie, JMLR 11 (2010): the input is corrupted, the CLEAN input
is the target. Masking sets numbers to 0 without rescaling the rest, so zero has to be the neutral value of the data.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from coview.objectives.precision import in_float32
from coview.randomness import normal, uniform


def mask_out(x: Tensor, key: Tensor, stream: int, share: float, unit: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Set a share of x (B, ...) to zero; returns the corrupted x and what was hit, bool, both of x's shape.

    Args:
        key: int64 (B,), from which the choice is drawn.
        unit: shape that is drawn for, broadcast to a sample's shape from the right: a picture's (1, H, W) masks all
            channels of a pixel together, its (C, H, W) each number alone.
    """
    hit = (uniform(key, stream, *unit) < share).expand_as(x)
    return x.masked_fill(hit, 0.0), hit


def add_noise(x: Tensor, key: Tensor, stream: int, deviation: float) -> Tensor:
    """Add Gaussian noise of a standard deviation to x (B, ...)."""
    return x + deviation * normal(key, stream, *x.shape[1:]).to(x.dtype)


def salt_and_pepper(x: Tensor, key: Tensor, stream: int, share: float) -> tuple[Tensor, Tensor]:
    """Set a share of the numbers of x (B, ...) to their sample's least or greatest by a fair coin; returns what was hit
    too.
    """
    low, high = (value.reshape(-1, *[1] * (x.ndim - 1)) for value in x.flatten(1).aminmax(dim=1))
    drawn = uniform(key, stream, *x.shape[1:])
    extreme = torch.where(drawn < share / 2, low, high)
    hit = drawn < share
    return torch.where(hit, extreme, x), hit


@in_float32
def squared(x: Tensor, reconstruction: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the (weighted) squared error of every sample (B,), summed over all that a sample holds."""
    errors = (x - reconstruction).square()
    return (errors if weight is None else weight * errors).flatten(1).sum(1)


@in_float32
def cross_entropy(x: Tensor, logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return -sum x log r + (1 - x) log(1 - r), r = sigmoid(logits), of every sample (B,); x in [0, 1]."""
    errors = binary_cross_entropy_with_logits(logits, x, reduction="none")
    return (errors if weight is None else weight * errors).flatten(1).sum(1)


def emphasis(hit: Tensor, on: float, off: float) -> Tensor:
    """Return the weight of every number: `on` where it was corrupted, `off` elsewhere (2010, section 4.2)."""
    return torch.where(hit, on, off)


def gaussian_denoiser(covariance: Tensor, deviation: float) -> Tensor:
    """Return the best linear map W (D, D) of x + noise, for zero-mean data: W = S (S + deviation^2 I)^-1."""
    noise = deviation**2 * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    weight: Tensor = torch.linalg.solve(covariance + noise, covariance, left=False)
    return weight


def masking_denoiser(covariance: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the best linear map W (D, D) of masked zero-mean data, and its expected squared error, summed over D.

    With q = 1 - share: W = q S Q^-1, where Q is q^2 S off its diagonal and q S on it; the error is
    tr(S - 2 q W S + W Q W^T). Numbers that never vary are mapped to zero.
    """
    kept = 1 - share
    seen = kept**2 * covariance
    seen.diagonal().copy_(kept * covariance.diagonal())
    weight = torch.linalg.lstsq(seen, kept * covariance, driver="gelsd").solution.T  # S and Q are symmetric
    error = covariance.trace() - 2 * kept * (weight @ covariance).trace() + (weight @ seen @ weight.T).trace()
    return weight, error
