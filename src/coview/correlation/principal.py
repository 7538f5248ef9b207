"""Principal components, with signs that do not depend on who computes them."""

from __future__ import annotations

import torch
from torch import Tensor

from coview.correlation.linalg import positive_signs
from coview.errors import UsageError


@torch.no_grad()
def principal_components(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the `count` leading directions (count, D) of rows x (N, D), float64, largest first.

    Directions are of unit length; of each the entry of largest magnitude is positive.

    Raises:
        UsageError: there are not more rows than directions, or not as many columns.
    """
    if count >= len(x) or count > x.shape[1]:
        raise UsageError(f"{count} components need more rows, and as many columns; found {len(x)} rows, {x.shape[1]}")
    mean = x.double().mean(0)
    centred = x.double() - mean
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    leading = vectors[:, -count:].flip(1)
    return mean, (leading * positive_signs(leading)).T
