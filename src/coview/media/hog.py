"""Histograms of oriented gradients, 31 numbers a cell, and pyramids of them: what patches of a picture look like.

Felzenszwalb, Girshick, McAllester & Ramanan, "Object detection with discriminatively trained part based models", PAMI
2010, section 6: 18 directions with sign, 9 without, each the mean of four normalisations cut off at .2, and 4 sums of
what each normalisation leaves. The outermost cells, whose normalisation is incomplete, are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

BINS = 31
_SIGNED, _UNSIGNED = 18, 9
_CUT = 0.2  # a normalised number is no larger
_LEAST = 1e-4  # added below each normalisation's root
_TEXTURE = 0.2357  # 1 / sqrt(18), to the released code's digits


def hog(pictures: Tensor, cell: int = 8) -> Tensor:
    """Return histograms of oriented gradients (B, round(H / cell) - 2, round(W / cell) - 2, 31), as float as given.

    Args:
        pictures: float32 or float64 (B, C, H, W) in [0, 1]; the steepest channel counts, the first of equals.
        cell: pixels along a side of a cell.

    Raises:
        ValueError: the pictures have fewer than three cells along a side.
    """
    height, width = pictures.shape[2:]
    rows, columns = (math.floor(side / cell + 0.5) for side in (height, width))
    if min(rows, columns) < 3:
        raise ValueError(f"pictures of {width} x {height} pixels have fewer than 3 cells of {cell} along a side")
    y, x = (_pixels(count * cell, side, pictures.device) for count, side in ((rows, height), (columns, width)))
    dx = pictures[:, :, y][:, :, :, x + 1] - pictures[:, :, y][:, :, :, x - 1]
    dy = pictures[:, :, y + 1][:, :, :, x] - pictures[:, :, y - 1][:, :, :, x]
    steepest = (dx.square() + dy.square()).argmax(1, keepdim=True)
    dx, dy = (part.gather(1, steepest)[:, 0] for part in (dx, dy))
    angle = torch.arange(_UNSIGNED, dtype=pictures.dtype, device=pictures.device) * (math.pi / _UNSIGNED)
    cosine, sine = (part.round(decimals=4)[:, None, None] for part in (angle.cos(), angle.sin()))
    along = cosine * dx[:, None] + sine * dy[:, None]
    direction = torch.cat([along, -along], 1).argmax(1, keepdim=True)
    strength = (dx.square() + dy.square()).sqrt()[:, None]
    steep = torch.zeros(len(pictures), _SIGNED, *dx.shape[1:], dtype=pictures.dtype, device=pictures.device)
    steep.scatter_(1, direction, strength)
    to_rows, to_columns = (_shares(count, cell, pictures) for count in (rows, columns))
    return _normalised(torch.einsum("yh,bohw,xw->byxo", to_rows, steep, to_columns))


def _pixels(visible: int, side: int, device: torch.device) -> Tensor:
    """Return the places that gradients are taken at: from the second pixel on, not beyond the last but one."""
    return torch.arange(1, visible - 1, device=device).clamp(max=side - 2)


def _shares(cells: int, cell: int, like: Tensor) -> Tensor:
    """Return (cells, pixels): how much of a pixel each cell gets, linear between the middles of two cells."""
    place = (torch.arange(1, cells * cell - 1, dtype=like.dtype, device=like.device) + 0.5) / cell - 0.5
    middle = torch.arange(cells, dtype=like.dtype, device=like.device)
    return (1 - (place - middle[:, None]).abs()).clamp(min=0)


def _normalised(histograms: Tensor) -> Tensor:
    """Return the 31 numbers of the inner cells of histograms (B, rows, columns, 18)."""
    both = histograms[..., :_UNSIGNED] + histograms[..., _UNSIGNED:]
    energy = 4 * avg_pool2d(both.square().sum(-1)[:, None], 2, 1)[:, 0]
    factor = (energy + _LEAST).rsqrt()
    corners = torch.stack([factor[:, 1:, 1:], factor[:, :-1, 1:], factor[:, 1:, :-1], factor[:, :-1, :-1]], -1)
    signed = (histograms[:, 1:-1, 1:-1, :, None] * corners[..., None, :]).clamp(max=_CUT)
    unsigned = (both[:, 1:-1, 1:-1, :, None] * corners[..., None, :]).clamp(max=_CUT)
    return torch.cat([signed.sum(-1) / 2, unsigned.sum(-1) / 2, _TEXTURE * signed.sum(-2)], -1)


def mirrored(cells: Tensor) -> Tensor:
    """Return the histograms (..., rows, columns, 31) of the picture mirrored left to right.

    Equal to those of the mirrored picture where its width is a multiple of the cell.
    """
    signed, unsigned = torch.arange(_SIGNED), torch.arange(_UNSIGNED)
    texture = torch.tensor([2, 3, 0, 1])
    order = torch.cat([(_UNSIGNED - signed) % _SIGNED, _SIGNED + (-unsigned) % _UNSIGNED, 27 + texture])
    return cells.flip(-2)[..., order.to(cells.device)]


def gradient_energy(pictures: Tensor, cell: int = 8) -> Tensor:
    """Return (B, rows, columns): the mean squared gradient, in steps of 1/255 a pixel, of the cells that `hog` has."""
    steps = [torch.gradient(pictures, dim=axis)[0].square().mean(1, keepdim=True) for axis in (2, 3)]
    rows, columns = (math.floor(side / cell + 0.5) for side in pictures.shape[2:])
    return 255**2 * adaptive_avg_pool2d(steps[0] + steps[1], (rows, columns))[:, 0, 1:-1, 1:-1]


@dataclass(frozen=True)
class Level:
    """One size of a picture: it was shrunk by `scale`; cells float32 (rows, columns, 31), energy (rows, columns)."""

    scale: float
    cells: Tensor
    energy: Tensor


def pyramid(picture: Tensor, patch: int, cell: int = 8, octave: int = 8) -> list[Level]:
    """Return the sizes of a picture, from its own downwards, that hold a patch with a ring around it.

    Args:
        picture: uint8 (H, W, 3).
        patch: cells along a side of a patch; with the ring of cells that have no histogram there are two more.
        octave: sizes until the picture is half as large.
    """
    whole = picture.permute(2, 0, 1)[None].float() / 255
    short = min(whole.shape[2:])
    count = max(0, math.floor(octave * math.log2(short / (cell * (patch + 2)))) + 1) if short else 0
    levels = []
    for number in range(count):
        scale = 2 ** (number / octave)
        size = [max(cell * (patch + 2), round(side / scale)) for side in whole.shape[2:]]
        shrunk = interpolate(whole, size, mode="bilinear", antialias=True) if number else whole
        shrunk = shrunk[:, :, : shrunk.shape[2] // cell * cell, : shrunk.shape[3] // cell * cell]
        levels.append(Level(scale, hog(shrunk, cell)[0], gradient_energy(shrunk, cell)[0]))
    return levels
