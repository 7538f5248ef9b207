"""Holes in pictures and what filling them costs.

Pathak, Krähenbühl, Donahue, Darrell & Efros, Context encoders, CVPR 2016 (arXiv 1604.07379). A mask is True where the
picture was dropped. The adversarial terms are the non-saturating ones of the released code, on logits.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, softplus

from coview.objectives.precision import in_float32
from coview.randomness import integers, uniform

_GRAIN = 0.06  # cells of free-form noise per pixel, as in the released code's texture
Normalise = Literal["sum", "picture", "hole"]


def centre_mask(size: int, overlap: int = 0) -> Tensor:
    """Return bool (size, size), True in the middle square of half the side, shrunk by `overlap` pixels on each side."""
    mask = torch.zeros(size, size, dtype=torch.bool)
    first, last = size // 4 + overlap, size // 4 + size // 2 - overlap
    mask[first:last, first:last] = True
    return mask


def border_weight(size: int, overlap: int, weight: float = 10.0) -> Tensor:
    """Return float32 (size, size): `weight` in the border of `overlap` pixels that the picture around shows, else 1."""
    weights = torch.full((size, size), weight)
    weights[overlap : size - overlap, overlap : size - overlap] = 1.0
    return weights


def block_masks(key: Tensor, stream: int, size: int, blocks: int = 5, share: float = 0.25) -> Tensor:
    """Return bool (B, size, size): for each key some squares, which may overlap, of `share` of the area at the most."""
    side = max(1, int((share / blocks) ** 0.5 * size))
    corner = integers(key, stream, size - side + 1, blocks, 2)
    line = torch.arange(size, device=key.device)
    inside = (line >= corner[..., None]) & (line < corner[..., None] + side)  # (B, blocks, 2, size)
    return (inside[:, :, 0, :, None] & inside[:, :, 1, None, :]).any(1)


def free_masks(key: Tensor, stream: int, size: int, area: tuple[float, float] = (0.2, 0.3)) -> Tensor:
    """Return bool (B, size, size): islands of smooth noise, for each key a share of the picture drawn from `area`.

    The released code cuts windows from one binary texture and keeps those of 20 to 30 %; here the share is drawn, and
    the level that cuts the noise follows from it, so that no draw is thrown away.
    """
    cells = max(2, round(_GRAIN * size))
    noise = uniform(key, stream, 1, cells, cells)
    smooth = interpolate(noise, size=(size, size), mode="bicubic", align_corners=False).flatten(1)
    share = area[0] + (area[1] - area[0]) * uniform(key, stream + 1)
    rank = (share * size * size).long().clamp(1, size * size)
    level = smooth.sort(dim=1).values.gather(1, rank[:, None] - 1)
    return (smooth <= level).reshape(-1, size, size)


@in_float32
def hole_error(
    x: Tensor, filled: Tensor, mask: Tensor, normalise: Normalise = "hole", weight: Tensor | None = None
) -> Tensor:
    """Return the squared error inside the hole of every picture (B,).

    Args:
        x, filled: (B, C, H, W), the whole picture and what was made of it.
        mask: bool (B, 1, H, W).
        normalise: "sum"; or divided by the numbers of the whole picture, or of its hole. A picture without a hole
            has error 0.
        weight: of each place, broadcast with the pictures; what is divided by stays the number of places.
    """
    squares = (x - filled).square() if weight is None else weight * (x - filled).square()
    error = torch.where(mask, squares, 0.0).flatten(1).sum(1)
    if normalise == "sum":
        return error
    if normalise == "picture":
        return error / x.shape[1:].numel()
    return error / (mask.flatten(1).sum(1) * x.shape[1]).clamp(min=1)


@in_float32
def real_or_made(real: Tensor, made: Tensor) -> Tensor:
    """Return the discriminator's loss, -log D(x) - log(1 - D(made)), of logits (B,): 2 ln 2 where it cannot tell."""
    return softplus(-real) + softplus(made)


@in_float32
def taken_for_real(made: Tensor) -> Tensor:
    """Return the generator's loss -log D(made) of logits (B,): ln 2 where the discriminator cannot tell."""
    return softplus(-made)
