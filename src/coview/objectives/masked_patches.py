"""Patches of pictures and spectrograms: which are hidden, and what making them costs.

He et al., CVPR 2022 (arXiv 2111.06377), section 3, and for spectrograms Gong et al., ICLR 2023 (arXiv 2210.07839). With
x_p the P numbers of patch p, m_p and v_p their mean and unbiased variance, y_p what was made and H the hidden patches,

    loss = mean_{p in H} |y_p - (x_p - m_p) / sqrt(v_p + 1e-6)|^2 / P

or x_p itself, where patches are not normalised. A constant prediction of 0 then costs (P - 1) / P.
"""

from __future__ import annotations

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.randomness import uniform

EPSILON = 1e-6  # beside the variance of a patch


def patches_of(x: Tensor, side: int) -> Tensor:
    """Return the patches of x (B, C, H, W) row after row, (B, L, side * side * C): rows, columns, then channels."""
    rows, columns = x.shape[2] // side, x.shape[3] // side
    cut = x.reshape(*x.shape[:2], rows, side, columns, side)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


@in_float32
def normalised(patches: Tensor) -> Tensor:
    """Return patches (B, L, P) of mean 0 and variance 1, each by its own; P at least 2, a patch of one colour is 0."""
    mean, variance = patches.mean(2, keepdim=True), patches.var(2, keepdim=True)
    return (patches - mean) / (variance + EPSILON).sqrt()


def seen_and_hidden(key: Tensor, stream: int, patches: int, share: float) -> tuple[Tensor, Tensor]:
    """Draw which patches of every sample are seen; every set of them is equally likely.

    Args:
        key: int64 (B,), from which the choice is drawn.
        patches: L, at least 2.
        share: of the patches that are hidden; at least one is, and one is not.

    Returns:
        int64 (B, K), the places of those that are seen, and bool (B, L), which are hidden.
    """
    kept = min(max(int(patches * (1 - share)), 1), patches - 1)
    seen = uniform(key, stream, patches).argsort(dim=1, stable=True)[:, :kept]
    hidden = torch.ones(len(key), patches, dtype=torch.bool, device=key.device)
    return seen, hidden.scatter(1, seen, False)


@in_float32
def hidden_error(patches: Tensor, made: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean squared error of the hidden patches of every sample (B,).

    Args:
        patches, made: (B, L, P), what was there and what was made of it.
        hidden: bool (B, L); at least one of each sample.
    """
    error = (made - patches).square().mean(2)
    return torch.where(hidden, error, 0.0).sum(1) / hidden.sum(1)
