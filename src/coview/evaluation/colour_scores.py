"""How near made colours come to the true ones, and one number for each known way in which colouring fails.

Colours are a and b of CIELAB, (B, 2, H, W), in its own units; lightness is L, (B, 1, H, W). A function returns sums,
float64 (2,), whose ratio is the figure (`in_one_direction` of `tint`): sums of single pictures add up to those of all.
Zhang, Isola & Efros, "Colorful image colorization", ECCV 2016 (arXiv 1603.08511), section 3.1; the failures are those
that Larsson, Maire & Shakhnarovich, ECCV 2016 (arXiv 1603.06668) show: too grey, one tint, wrong hue, colour past an
edge, uneven regions.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import max_pool2d

from coview.objectives.colour_bins import colour_bins, smoothed_prior, soft_labels

LARGEST = 150  # error up to which the curve goes
COLOURED = 10.0  # chroma from which on a place has a hue to speak of
FLAT = 2.0  # step of lightness below which there is no edge
AT_ONCE = 1 << 14  # colours
LEAST = 16  # places of a region
NEAR = 2  # pixels from an edge of lightness that still belong to it


def passed(errors: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the sums of the area under the curve: the mean over t = 0, 1, ..., 150 of the share of places (...) whose
    error is at most t.

    Args:
        errors: distance from the true colour.
        weight: how much each place counts, of the same shape; None: all the same.
    """
    share = (LARGEST + 1 - errors.double().ceil()).clamp(0, LARGEST + 1) / (LARGEST + 1)
    weight = torch.ones_like(share) if weight is None else weight.double()
    return torch.stack([(share * weight).sum(), weight.sum()])


def rarity_of(ab: Tensor, prior: Tensor | None = None) -> Tensor:
    """Return 1 / p of the nearest of the 313 bins of every colour (N, 2), where p is the smoothed share of that bin.

    Args:
        prior: p, (313,); None: the share among these colours.
    """
    bins = colour_bins().to(ab)
    share = smoothed_prior(ab, bins) if prior is None else prior.to(ab)
    # In parts: every colour is held against all bins.
    nearest = torch.cat([soft_labels(part, bins, neighbours=1)[0][:, 0] for part in torch.split(ab, AT_ONCE)])
    return 1 / share[nearest].clamp(min=torch.finfo(ab.dtype).tiny)


def chroma(ab: Tensor) -> Tensor:
    """Return the distance from grey (B, H, W)."""
    distance: Tensor = torch.linalg.vector_norm(ab, dim=1)
    return distance


def chroma_share(made: Tensor, true: Tensor) -> Tensor:
    """Return the sums of the chroma of made colours over that of true ones: 0 of grey pictures, 1 of the truth."""
    return torch.stack([chroma(made).double().sum(), chroma(true).double().sum()])


def tint(ab: Tensor) -> Tensor:
    """Return the sums of a a, a b and b b, float64 (3,)."""
    a, b = ab.double().unbind(1)
    return torch.stack([(a * a).sum(), (a * b).sum(), (b * b).sum()])


def in_one_direction(sums: Tensor) -> Tensor:
    """Return the share of the variance about grey that lies in one direction of the ab plane, (...) of `tint` (..., 3).

    1 of a single tint in any strength (sepia), 0.5 where all hues are alike; NaN of grey pictures.
    """
    aa, ab, bb = sums.unbind(-1)
    return 0.5 + torch.hypot((aa - bb) / 2, ab) / (aa + bb)


def hue_confusion(made: Tensor, true: Tensor) -> Tensor:
    """Return the sums of the share of places with colour in both whose hue is more than 90 degrees from the truth, such
    as red for blue: 0 of the truth, 1 of the opposite colours.
    """
    both = (chroma(made) >= COLOURED) & (chroma(true) >= COLOURED)
    return torch.stack([((made * true).sum(1)[both] < 0).double().sum(), both.double().sum()])


def bleeding(ab: Tensor, lightness: Tensor) -> Tensor:
    """Return the sums of the share of all steps of colour from pixel to pixel that are further than two pixels from an
    edge of lightness: 0 where colour ends where things end.
    """
    loose, total = [], []
    for axis in (-1, -2):
        edge = (lightness.diff(dim=axis).abs() >= FLAT).to(ab.dtype)
        near = max_pool2d(edge, 2 * NEAR + 1, 1, NEAR)[:, 0] > 0
        step = torch.linalg.vector_norm(ab.diff(dim=axis), dim=1).double()
        loose.append(step[~near].sum())
        total.append(step.sum())
    return torch.stack([torch.stack(loose).sum(), torch.stack(total).sum()])


def unevenness(ab: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of what colours vary by inside of regions of one true colour: the standard deviation of chroma,
    and of the hue of places with colour the circular variance 1 - |mean direction|; means over regions by their places.

    Both are 0 where every region has one colour; that of hue is 1 where its directions cancel.

    Args:
        regions: int64 (B, H, W), a number for each, -1 for places that belong to none.
    """
    inside = regions >= 0
    number, flat = regions[inside], ab.movedim(1, -1)[inside].double()
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
    lost = coloured - torch.linalg.vector_norm(direction, dim=1)
    whole = strength.new_tensor(float(number.numel()))
    return torch.stack([(spread * size).sum(), whole]), torch.stack([lost.sum(), coloured.sum()])


def regions_of(lab: Tensor) -> Tensor:
    """Return connected places of one colour in true pictures, int64 (B, H, W), -1 for what is smaller than 16 places.

    Args:
        lab: CIELAB (B, 3, H, W); one colour is a cell of 20 in L and 10 in a and b.
    """
    cells = torch.floor(lab / lab.new_tensor([20.0, 10.0, 10.0])[:, None, None]).long()
    codes = (cells[:, 0] * 64 + cells[:, 1] + 32) * 64 + cells[:, 2] + 32
    found, first = torch.full_like(codes, -1), 0
    for picture, code in zip(found, codes, strict=True):
        for value in torch.unique(code).tolist():
            numbers, count = label((code == value).numpy())
            sizes = np.bincount(numbers.ravel(), minlength=count + 1)
            for number in np.flatnonzero(sizes[1:] >= LEAST) + 1:
                picture[torch.from_numpy(numbers == number)] = first
                first += 1
    return found
