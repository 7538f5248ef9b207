"""How near made colours come to the true ones, and one number for each known way in which colouring fails.

Colours are a and b of CIELAB, (B, 2, H, W), in its own units; lightness is L, (B, 1, H, W). Zhang, Isola & Efros,
"Colorful image colorization", ECCV 2016 (arXiv 1603.08511), section 3.1; the failures are those that Larsson, Maire &
Shakhnarovich, ECCV 2016 (arXiv 1603.06668) show: too grey, one tint, wrong hue, colour past an edge, uneven regions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from coview.objectives.colour_bins import colour_bins, smoothed_prior, soft_labels

LARGEST = 150  # error up to which the curve goes
COLOURED = 10.0  # chroma from which on a place has a hue to speak of
FLAT = 2.0  # step of lightness below which there is no edge
NEAR = 2  # pixels from an edge of lightness that still belong to it


def auc(errors: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean over t = 0, 1, ..., 150 of the share of places (...) whose error is at most t; a scalar.

    Args:
        errors: distance from the true colour.
        weight: how much each place counts, of the same shape; None: all the same.
    """
    passed = (LARGEST + 1 - errors.ceil()).clamp(0, LARGEST + 1) / (LARGEST + 1)
    return passed.mean() if weight is None else (passed * weight).sum() / weight.sum()


def rarity_of(ab: Tensor, prior: Tensor | None = None) -> Tensor:
    """Return 1 / p of the nearest of the 313 bins of every colour (N, 2), where p is the smoothed share of that bin.

    Args:
        prior: p, (313,); None: the share among these colours.
    """
    bins = colour_bins().to(ab)
    index, _ = soft_labels(ab, bins, neighbours=1)
    share = smoothed_prior(ab, bins) if prior is None else prior.to(ab)
    return 1 / share[index[:, 0]].clamp(min=torch.finfo(ab.dtype).tiny)


def chroma(ab: Tensor) -> Tensor:
    """Return the distance from grey (B, H, W)."""
    return torch.linalg.vector_norm(ab, dim=1)


def chroma_share(made: Tensor, true: Tensor) -> Tensor:
    """Return the mean chroma of made colours over that of true ones: 0 of grey pictures, 1 of the truth."""
    return chroma(made).mean() / chroma(true).mean()


def one_direction(ab: Tensor) -> Tensor:
    """Return the share of the variance about grey that lies in one direction of the ab plane: 1 of a single tint in
    any strength (sepia), 0.5 where all hues are alike; NaN of grey pictures.
    """
    flat = ab.movedim(1, -1).flatten(0, -2).double()
    powers = torch.linalg.eigvalsh(flat.T @ flat)
    return powers[-1] / powers.sum()


def hue_confusion(made: Tensor, true: Tensor) -> Tensor:
    """Return the share of places with colour in both whose hue is more than 90 degrees from the truth, red for blue.

    0 of the truth, 1 of the opposite colours; NaN where no place has colour in both.
    """
    both = (chroma(made) >= COLOURED) & (chroma(true) >= COLOURED)
    return ((made * true).sum(1)[both] < 0).double().mean()


def bleeding(ab: Tensor, lightness: Tensor) -> Tensor:
    """Return the share of all steps of colour from pixel to pixel that are further than two pixels from an edge of
    lightness: 0 where colour ends where things end; NaN of one colour.
    """
    loose, total = [], []
    for axis in (-1, -2):
        edge = (lightness.diff(dim=axis).abs() >= FLAT).to(ab.dtype)
        near = max_pool2d(edge, 2 * NEAR + 1, 1, NEAR)[:, 0] > 0
        step = torch.linalg.vector_norm(ab.diff(dim=axis), dim=1)
        loose.append(step[~near].double().sum())
        total.append(step.double().sum())
    return torch.stack(loose).sum() / torch.stack(total).sum()


def unevenness(ab: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Return what colours vary by inside of regions of one true colour: of chroma the standard deviation, of hue the
    circular variance 1 - |mean direction| of places with colour; each the mean over regions, weighted by their places.

    Both are 0 where every region has one colour; hue is 1 where its directions cancel, and NaN without places with
    colour.

    Args:
        regions: int64 (B, H, W), a number for each, -1 for places that belong to none.
    """
    inside = regions >= 0
    number = regions[inside]
    flat = ab.movedim(1, -1)[inside].double()
    strength = torch.linalg.vector_norm(flat, dim=1)
    count = int(number.max()) + 1 if number.numel() else 0

    def summed(values: Tensor, where: Tensor) -> Tensor:
        return values.new_zeros(count, *values.shape[1:]).index_add_(0, where, values)

    size = summed(torch.ones_like(strength), number).clamp(min=1)
    off = strength - (summed(strength, number) / size)[number]
    spread = (summed(off.square(), number) / size).sqrt()
    known = strength >= COLOURED
    direction = summed(flat[known] / strength[known, None], number[known])
    coloured = summed(torch.ones_like(strength[known]), number[known])
    hue = 1 - torch.linalg.vector_norm(direction, dim=1) / coloured.clamp(min=1)
    return (spread * size).sum() / number.numel() if number.numel() else torch.tensor(math.nan), _mean(hue, coloured)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum()
