"""Colour mathematics: sRGB to CIELAB and back, batched and differentiable; the one home of these constants.

sRGB as IEC 61966-2-1 defines it, CIELAB as CIE 15:2004 does, for the white D65 of the 2 degree observer. Channels lie
in dimension 1; whatever else there is (rows, frames, height, width) stays.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Space = Literal["rgb", "lightness", "colour", "intensity"]
WHITE = (0.95047, 1.0, 1.08883)  # XYZ of D65
# Linear sRGB to XYZ; the rows sum to the white.
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_EDGE, _SLOPE, _OFFSET = 0.008856, 7.787, 16 / 116  # CIELAB: below this share of the white the cube root is a line
LIGHTNESS_RANGE = (50.0, 50.0)  # L of 0 to 100 becomes -1 to 1
INTENSITY = 0.4488  # mean of (R + G + B) / 3 over ImageNet, as Larsson, Maire & Shakhnarovich (ECCV 2016) take it
_HALVINGS = 10  # of the share of chroma that is kept: a thousandth is not seen
_ROUNDING = 1e-4  # by which a colour may be outside: a fortieth of an 8-bit step
COLOUR_RANGE = 110.0  # a and b of the colours that sRGB holds lie within about this


def srgb_to_lab(rgb: Tensor) -> Tensor:
    """Return CIELAB (B, 3, ...) of sRGB (B, 3, ...) in [0, 1]: L in 0..100, a and b in about -110..110."""
    # The unused branch of a `where` must not give an infinite gradient.
    curve = ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    xyz = _mixed(torch.where(rgb > 0.04045, curve, rgb / 12.92), _matrix(rgb))
    share = xyz / _white(rgb, xyz.ndim)
    f = torch.where(share > _EDGE, share.clamp(min=_EDGE) ** (1 / 3), _SLOPE * share + _OFFSET)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_srgb(lab: Tensor, clip: bool = True) -> Tensor:
    """Return sRGB (B, 3, ...) of CIELAB (B, 3, ...); colours that sRGB lacks are cut to [0, 1], or not where `clip` is
    False: then the curve goes on below 0 as the line it is there.
    """
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    if clip:
        f = torch.cat([f[:, :2], f[:, 2:].clamp(min=0)], dim=1)
    low = _SLOPE * _EDGE + _OFFSET
    share = torch.where(f > low, f**3, (f - _OFFSET) / _SLOPE)
    linear = _mixed(share * _white(lab, lab.ndim), torch.linalg.inv(_matrix(lab).double()).to(lab.dtype))
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    rgb = torch.where(linear > 0.0031308, curve, 12.92 * linear)
    return rgb.clamp(0, 1) if clip else rgb


def split(rgb: Tensor, space: Space) -> Tensor:
    """Return what a view of `space` sees of pictures (B, 3, ...) in [0, 1].

    "rgb": the pictures; "lightness": (B, 1, ...), (L - 50) / 50; "colour": (B, 2, ...), a / 110 and b / 110;
    "intensity": (B, 1, ...), (R + G + B) / 3 - 0.4488.
    """
    if space == "rgb":
        return rgb
    if space == "intensity":
        return rgb.mean(1, keepdim=True) - INTENSITY
    lab = srgb_to_lab(rgb)
    middle, half = LIGHTNESS_RANGE
    return (lab[:, :1] - middle) / half if space == "lightness" else lab[:, 1:] / COLOUR_RANGE


def join(lightness: Tensor, colour: Tensor, clip: bool = True) -> Tensor:
    """Return pictures (B, 3, ...) of their lightness (B, 1, ...) and colour (B, 2, ...), as `split` gives them."""
    middle, half = LIGHTNESS_RANGE
    return lab_to_srgb(torch.cat([lightness * half + middle, colour * COLOUR_RANGE], dim=1), clip)


def greyed(rgb: Tensor) -> Tensor:
    """Return the grey pictures (B, 3, ...) that have the lightness of pictures (B, 3, ...), all in [0, 1]."""
    lightness = srgb_to_lab(rgb)[:, :1]
    return lab_to_srgb(torch.cat([lightness, torch.zeros_like(lightness).expand(-1, 2, *rgb.shape[2:])], dim=1))


def join_within(lightness: Tensor, colour: Tensor) -> Tensor:
    """Return pictures as `join` does, in [0, 1], of exactly this lightness.

    A colour that sRGB lacks keeps its direction in the ab plane, and as much of its chroma as sRGB has there.
    """
    rgb = join(lightness, colour, clip=False)
    outside = ~_in_gamut(rgb)
    if bool(outside.any()):
        light, direction = (part.movedim(1, 0)[:, outside].T for part in (lightness, colour))
        low = torch.zeros_like(light)  # grey has every lightness
        for step in range(1, _HALVINGS + 1):
            share = low + 0.5**step
            fits = _in_gamut(join(light, share * direction, clip=False))
            low = torch.where(fits[:, None], share, low)
        rgb.movedim(1, 0)[:, outside] = join(light, low * direction, clip=False).T
    return rgb.clamp(0, 1)


def _in_gamut(rgb: Tensor) -> Tensor:
    return ((rgb >= -_ROUNDING) & (rgb <= 1 + _ROUNDING)).all(1)


def _matrix(like: Tensor) -> Tensor:
    return like.new_tensor(_TO_XYZ)


def _white(like: Tensor, ndim: int) -> Tensor:
    return like.new_tensor(WHITE).reshape(1, 3, *[1] * (ndim - 2))


def _mixed(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("kc,bc...->bk...", matrix, x)
