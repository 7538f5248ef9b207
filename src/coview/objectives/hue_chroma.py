"""Hue and chroma as two histograms, and the ways back to a colour.

Larsson, Maire & Shakhnarovich, Learning representations for automatic colorization, ECCV 2016 (arXiv 1603.06668).
Colours are RGB in [0, 1], channels last; hue lies in [0, 1), 0 for greys; chroma is the largest channel
minus the smallest.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from coview.objectives.precision import in_float32

BINS = 32
FADING = 0.03  # length of the mean hue vector, divided by the number of bins, below which a colour fades to grey
ChromaRule = Literal["median", "interpolated-median", "q75", "expectation", "mode"]
HueRule = Literal["fading", "expectation", "median", "mode"]


def to_hue_chroma(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue, chroma and value (the largest channel), (...) each, of colours (..., 3)."""
    value, low = rgb.amax(-1), rgb.amin(-1)
    chroma = value - low
    red, green, blue = rgb.unbind(-1)
    width = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(
        value == red,
        (green - blue) / width,
        torch.where(value == green, (blue - red) / width + 2, (red - green) / width + 4),
    )
    return torch.where(chroma > 0, torch.remainder(sector / 6, 1.0), 0.0), chroma, value


def from_hue_saturation(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Return RGB (..., 3) of hue, saturation and value (...): the hexcone."""
    shift = torch.tensor([5.0, 3.0, 1.0], dtype=hue.dtype, device=hue.device)
    k = torch.remainder(shift + hue[..., None] * 6, 6.0)
    return value[..., None] * (1 - saturation[..., None] * torch.minimum(k, 4 - k).clamp(0, 1))


def to_bins(x: Tensor, bins: int = BINS) -> Tensor:
    """Return the bin, int64, of numbers in [0, 1]: equal ones, the last with its end."""
    return torch.floor(x * bins).long().clamp(0, bins - 1)


def windows(values: Tensor, places: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Return what maps (B, C, H, W) hold around places, (B, P, M, C), and which of it lies inside, bool (B, P, M).

    Args:
        places: int64 (B, P, 2), row and column of each window's middle.
        window: M = window^2 pixels, an odd side.
    """
    reach = torch.arange(window, device=places.device) - window // 2
    row = (places[:, :, 0, None, None] + reach[:, None]).expand(-1, -1, window, window).flatten(2)
    column = (places[:, :, 1, None, None] + reach).expand(-1, -1, window, window).flatten(2)
    height, width = values.shape[2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    number = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    flat = values.flatten(2).transpose(1, 2)
    found = flat.gather(1, number.flatten(1)[:, :, None].expand(-1, -1, flat.shape[2]))
    return found.view(*number.shape, flat.shape[2]), inside


def histograms(index: Tensor, counted: Tensor, bins: int = BINS) -> Tensor:
    """Return the shares (..., bins), float64, of the bins (..., M) where `counted`, bool, of which some must be."""
    total = torch.zeros(*index.shape[:-1], bins, dtype=torch.float64, device=index.device)
    total.scatter_add_(-1, index, counted.double())
    return total / total.sum(-1, keepdim=True)


def gaussian_edges(bins: int = BINS, deviation: float = 25.0) -> Tensor:
    """Return the bins - 1 inner edges, float64, that cut a normal distribution into equal shares: Lab's axes."""
    return _quantiles(torch.arange(1, bins, dtype=torch.float64) / bins, deviation)


def gaussian_middles(bins: int = BINS, deviation: float = 25.0) -> Tensor:
    """Return what halves each of the bins' shares (bins,), float64: what a bin of an axis of Lab stands for."""
    return _quantiles((torch.arange(bins, dtype=torch.float64) + 0.5) / bins, deviation)


def _quantiles(share: Tensor, deviation: float) -> Tensor:
    found: Tensor = deviation * torch.special.ndtri(share)
    return found


def reachable_chroma(lightness: Tensor) -> Tensor:
    """Return the released code's weight of the chroma term, 3 min(L, 1/3, 1 - L): 0 at black and white."""
    return 3 * torch.minimum(lightness, 1 - lightness).clamp(max=1 / 3)


@in_float32
def hue_chroma_loss(
    hue: Tensor,
    chroma: Tensor,
    hue_target: Tensor,
    chroma_target: Tensor,
    amount: Tensor,
    hue_weight: float = 5.0,
    chroma_weight: Tensor | None = None,
) -> Tensor:
    """Return chroma_weight * KL(chroma) + hue_weight * amount * KL(hue) of every place (N,).

    Args:
        hue, chroma: logits (N, K).
        hue_target, chroma_target: histograms (N, K).
        amount: chroma (N,) of the place itself: a grey place says nothing about hue.
        chroma_weight: (N,); None: 1.
    """
    of_chroma = divergence(chroma_target, chroma)
    of_chroma = of_chroma if chroma_weight is None else chroma_weight * of_chroma
    return of_chroma + hue_weight * amount * divergence(hue_target, hue)


@in_float32
def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return KL(target || softmax(logits)) of every place (N,), of histograms (N, K) and logits (N, K)."""
    return (torch.xlogy(target, target) - target * torch.log_softmax(logits, 1)).sum(1)


def decode_chroma(histogram: Tensor, rule: ChromaRule = "median") -> Tensor:
    """Return chroma (...) of histograms (..., K).

    "median" and "q75" count the bins below, half a bin on, as the released code does, and so never give 0;
    "interpolated-median" is the paper's: the level at which the cumulative sum reaches one half.
    """
    bins = histogram.shape[-1]
    if rule == "expectation":
        centres = (torch.arange(bins, dtype=histogram.dtype, device=histogram.device) + 0.5) / bins
        return (histogram * centres).sum(-1)
    if rule == "mode":
        return histogram.argmax(-1).to(histogram.dtype) / bins
    summed = histogram.cumsum(-1)
    if rule != "interpolated-median":
        return ((summed < (0.5 if rule == "median" else 0.75)).sum(-1) + 0.5).to(histogram.dtype) / bins
    place = (summed < 0.5).sum(-1, keepdim=True).clamp(max=bins - 1)
    below = summed.gather(-1, place) - histogram.gather(-1, place)
    inside = (0.5 - below) / histogram.gather(-1, place).clamp(min=1e-12)
    return ((place + inside) / bins)[..., 0]


def decode_hue(histogram: Tensor, rule: HueRule = "fading") -> tuple[Tensor, Tensor]:
    """Return hue and the factor that chroma is faded by, (...) each, of histograms (..., K).

    The mean hue is the direction of z = sum_k p_k exp(2 pi i (k + .5) / K) / K; where it is shorter than `FADING`, hues
    disagree and the colour fades: min(|z| / FADING, 1). The paper prints "max", its code takes the least. Only "fading"
    fades.
    """
    bins = histogram.shape[-1]
    full = torch.ones(histogram.shape[:-1], dtype=histogram.dtype, device=histogram.device)
    if rule == "median":
        return ((histogram.cumsum(-1) < 0.5).sum(-1) + 0.5).to(histogram.dtype) / bins, full
    if rule == "mode":
        return (histogram.argmax(-1) + 0.5).to(histogram.dtype) / bins, full
    angle = 2 * math.pi * (torch.arange(bins, dtype=histogram.dtype, device=histogram.device) + 0.5) / bins
    along, across = ((histogram * part).sum(-1) / bins for part in (angle.cos(), angle.sin()))
    hue = torch.remainder(torch.atan2(across, along) / (2 * math.pi), 1.0)
    length = torch.hypot(along, across)
    return hue, (length / FADING).clamp(max=1) if rule == "fading" else full


def colour_of(lightness: Tensor, hue: Tensor, chroma: Tensor) -> Tensor:
    """Return RGB (..., 3) of lightness, hue and chroma (...): V = L + C / 2, S = C / V, clipped."""
    value = lightness + chroma / 2
    saturation = torch.where(value > 0, chroma / torch.where(value > 0, value, 1.0), 0.0)
    return from_hue_saturation(hue, saturation.clamp(0, 1), value.clamp(0, 1))


def with_lightness(rgb: Tensor, lightness: Tensor) -> Tensor:
    """Return colours (..., 3) moved so that their mean is `lightness` (...), then clipped; saturated ones miss it."""
    return (rgb - rgb.mean(-1, keepdim=True) + lightness[..., None]).clamp(0, 1)
