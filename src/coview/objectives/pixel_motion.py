"""Pixels that are moved instead of painted: by kernels, by a kernel at every place, or by affine maps; and their masks.

Finn, Goodfellow & Levine, "Unsupervised learning for physical interaction through video prediction", NIPS 2016 (arXiv
1605.07157), section 3. A kernel's taps are counted by rows and are not turned round: a tap (i, j) from the middle
brings the pixel at (y + i, x + j) to (y, x). What lies outside the picture is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from coview.objectives.precision import in_float32

_LEAST = 1e-12  # of a tap, so that taps that are all cut off make a blur and not 0 / 0


@in_float32
def kernel_of(raw: Tensor, dim: int = -1) -> Tensor:
    """Return taps >= 0 that sum to 1 along `dim`: raw ones without what is negative, over their sum.

    Where no raw tap is positive, all taps are equal and have no gradient.
    """
    taps = (raw - _LEAST).relu() + _LEAST
    return taps / taps.sum(dim, keepdim=True)


@in_float32
def move_by_kernels(x: Tensor, kernels: Tensor) -> Tensor:
    """Return pictures moved as a whole, (B, K, C, H, W): CDNA, equation 2.

    Args:
        x: (B, C, H, W).
        kernels: (B, K, k, k), k odd.
    """
    side, (height, width) = kernels.shape[-1], x.shape[-2:]
    shifted = _shifts(x, side)
    return torch.einsum("bcthw,bkt->bkchw", shifted.view(*shifted.shape[:3], height, width), kernels.flatten(2))


@in_float32
def move_by_places(x: Tensor, kernels: Tensor) -> Tensor:
    """Return pictures (B, C, H, W) each of whose places has a kernel of its own: DNA, equation 1.

    Args:
        x: (B, C, H, W).
        kernels: (B, k * k, H, W), k odd, the taps of every place.
    """
    side = round(kernels.shape[1] ** 0.5)
    return torch.einsum("bctp,btp->bcp", _shifts(x, side), kernels.flatten(2)).view(x.shape)


@in_float32
def move_by_affine(x: Tensor, theta: Tensor, as_released: bool = False) -> Tensor:
    """Return pictures seen through affine maps, (B, K, C, H, W), bilinear: STP, equation 3.

    Args:
        x: (B, C, H, W).
        theta: (B, K, 6), 2 x 3 by rows: from places of the output to places of the input, (x, y, 1), -1 and 1 being the
            middles of the outermost pixels; 1 0 0 0 1 0 changes nothing.
        as_released: the sampler of the released code, where 1 lies a pixel further than its grid, so that pictures grow
            by W / (W - 1), and what lies beyond the last pixel vanishes.
    """
    (count, maps), (height, width) = theta.shape[:2], x.shape[-2:]
    grid = _sources(theta, (height, width)).flatten(0, 1)
    sides = torch.tensor([width, height], dtype=x.dtype, device=x.device)
    if as_released:
        grid = (grid + 1) * sides / (sides - 1) - 1
    moved = grid_sample(x.repeat_interleave(maps, 0), grid, align_corners=True)
    if as_released:
        moved = moved * ((grid >= -1) & (grid < 1)).all(-1)[:, None]
    return moved.view(count, maps, *moved.shape[1:])


@in_float32
def composite(layers: Tensor, masks: Tensor) -> Tensor:
    """Return pictures (B, C, H, W): layers (B, K, C, H, W) times masks (B, K, H, W), summed; equation 4."""
    return (layers * masks[:, :, None]).sum(1)


@in_float32
def flow_of_kernels(kernels: Tensor) -> Tensor:
    """Return how far kernels (..., k * k) move what they bring, in pixels: (..., 2), x to the right and y down.

    It is minus the mean place of the taps.
    """
    half = round(kernels.shape[-1] ** 0.5) // 2
    step = torch.arange(-half, half + 1, dtype=kernels.dtype, device=kernels.device)
    y, x = torch.meshgrid(step, step, indexing="ij")
    return -torch.stack([(kernels * x.flatten()).sum(-1), (kernels * y.flatten()).sum(-1)], -1)


@in_float32
def flow_of_affine(theta: Tensor, size: tuple[int, int]) -> Tensor:
    """Return how far affine maps (B, K, 6) move what they bring to every place, in pixels: (B, K, 2, H, W), x and y.

    Args:
        size: H and W.
    """
    height, width = size
    still = theta.new_tensor([1, 0, 0, 0, 1, 0]).expand(1, 1, 6)
    half = theta.new_tensor([width - 1, height - 1]) / 2
    return ((_sources(still, size) - _sources(theta, size)) * half).movedim(-1, 2)


def _sources(theta: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where in the input every place of the output comes from, (B, K, H, W, 2), for affine maps (B, K, 6).

    Unlike torch's own, of no samples too.
    """
    y, x = (torch.linspace(-1, 1, side, dtype=theta.dtype, device=theta.device) for side in size)
    places = torch.stack([x.expand(size), y[:, None].expand(size), torch.ones_like(x).expand(size)], -1)
    return torch.einsum("bkij,hwj->bkhwi", theta.view(*theta.shape[:2], 2, 3), places)


def _shifts(x: Tensor, side: int) -> Tensor:
    """Return x (B, C, H, W) under every tap, (B, C, side * side, H * W)."""
    half, (height, width) = side // 2, x.shape[-2:]
    wide = pad(x, (half, half, half, half))
    shifted = [wide[..., i : i + height, j : j + width] for i in range(side) for j in range(side)]
    return torch.stack(shifted, 2).flatten(3)
