"""Sound textures: what a stretch of sound is like on the whole, as 502 statistics of its envelopes.

McDermott & Simoncelli, Neuron 71, 2011, in the form of Owens et al., "Ambient sound provides supervision for visual
learning", ECCV 2016 (arXiv 1608.07017), whose authors released the statistics with a later work. With E (32 bands, T)
the envelopes of `cochlea`, divided by their loudness, the median over time of |E(t)|:

    mean 32, std / mean 32, correlations of bands 1, 2, 3 and 5 apart 117, root mean square of ten modulation bands
    over std 320, loudness 1

A modulation band that holds no frequency of the sound is left out: all sounds of a length have the same bands, and
those of one second or less lack the lowest, 470 statistics. No result is ever NaN: what a band without any movement
would divide by zero is zero, and so is everything of silence.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from coview.media.cochlea import BANDS, RATE, envelopes

APART = (1, 2, 3, 5)  # bands whose envelopes are correlated
_EPSILON = 2.0**-23  # the released code's, float32's own
_LOWEST, _HIGHEST = 0.5, 200.0  # Hz, centres of the first and of the last modulation band


def texture(waveform: Tensor, rate: float, floor: float = 0.0) -> dict[str, Tensor]:
    """Return the statistics of waveforms (B, samples) by groups, each (B, n), float32 or float64 as the waveform is.

    Groups: mean (B, 32), variation (B, 32), correlation (B, 117), modulation (B, 32 x bands), band by band, loudness
    (B, 1). A change of volume by g multiplies the loudness by g ** 0.3 and leaves the rest as it is.

    Args:
        rate: samples per second; bands reach up to 10 kHz or half of it.
        floor: added to squared means and to variances, of envelopes whose sum of squares is 1: what nearly empty
            bands do is rounding noise and says nothing. 0: as released.

    Raises:
        ValueError: see `cochlea.envelopes`.
    """
    return statistics(envelopes(waveform, rate), floor)


def statistics(envelope: Tensor, floor: float = 0.0) -> dict[str, Tensor]:
    """Return the statistics, see `texture`, of envelopes (B, 32, T) at 400 Hz."""
    strength = torch.linalg.vector_norm(envelope, dim=1)
    # At least half of the mean: a sound that is silent most of the time has a loudness too.
    loudness = torch.maximum(_median(strength), strength.mean(1) / 2)
    heard = loudness > 0
    scaled = envelope / torch.where(heard, loudness, 1.0)[:, None, None]
    mean = scaled.mean(2)
    centred = scaled - mean[:, :, None]
    variance = centred.square().mean(2)
    power = band_power(centred, modulation_filters(envelope.shape[2], 10, 1.0))
    groups = {
        "mean": mean,
        "variation": (variance / (_EPSILON + floor + mean.square())).sqrt(),
        "correlation": _neighbours(centred, variance + floor),
        "modulation": (power / (_EPSILON + floor + variance)[:, :, None]).sqrt().flatten(1),
        "loudness": loudness[:, None],
    }
    return {name: torch.where(heard[:, None], value, 0.0) for name, value in groups.items()}


def sizes(seconds: float) -> dict[str, int]:
    """Return how many statistics each group has, of sounds of a length."""
    modulation = len(modulation_filters(round(seconds * RATE), 10, 1.0))
    pairs = sum(BANDS - apart for apart in APART)
    return {"mean": BANDS, "variation": BANDS, "correlation": pairs, "modulation": BANDS * modulation, "loudness": 1}


def modulation_centres(count: int) -> Tensor:
    """Return the centres of modulation bands, float64 (count,), Hz: equally spaced on a logarithmic scale."""
    return torch.linspace(math.log2(_LOWEST), math.log2(_HIGHEST), count, dtype=torch.float64, device="cpu").exp2()


@lru_cache(maxsize=16)
def modulation_filters(frames: int, count: int, quality: float) -> Tensor:
    """Return the responses, float64 (bands, frames // 2 + 1), of `count` bands at 400 Hz that hold a frequency.

    Half a cosine around each centre c, from c - c / quality to c + c / quality; the mean of the summed squares is 1
    from the fourth centre to the fourth last.

    Raises:
        ValueError: no frequency lies there: the sound is too short, below a tenth of a second.
    """
    frequencies = torch.arange(frames // 2 + 1, dtype=torch.float64, device="cpu") * RATE / frames
    centres = modulation_centres(count)
    away = (frequencies - centres[:, None]) * quality / centres[:, None]  # -1 to 1 inside of the band
    filters = torch.where(away.abs() < 1, (away * math.pi / 2).cos(), 0.0)
    middle = (frequencies >= centres[3]) & (frequencies <= centres[-4])
    if not bool(middle.any()):
        raise ValueError(f"a texture needs a tenth of a second of sound, found {frames / RATE:g} s")
    filters = filters / filters[:, middle].square().sum(0).mean().sqrt()
    return filters[(away.abs() < 1).any(1)]


def band_power(envelope: Tensor, filters: Tensor) -> Tensor:
    """Return the mean square (..., bands) over time of envelopes (..., T) behind filters (bands, T // 2 + 1)."""
    return spectral_power(envelope) @ filters.square().T.to(envelope)


def spectral_power(envelope: Tensor) -> Tensor:
    """Return what each frequency adds to the mean square over time of envelopes (..., T): (..., T // 2 + 1)."""
    frames = envelope.shape[-1]
    spectrum: Tensor = torch.fft.rfft(envelope)
    power = (spectrum.real.square() + spectrum.imag.square()) / frames**2
    power[..., 1 : (frames + 1) // 2] *= 2  # the negative frequencies' share
    return power


def _neighbours(centred: Tensor, variance: Tensor) -> Tensor:
    """Return the correlations (B, 117) of bands `APART`: of the first band with each, of the second, and so on."""
    pairs = [(band, band + apart) for band in range(BANDS) for apart in APART if band + apart < BANDS]
    one, other = torch.tensor(pairs, device=centred.device).T
    covariance = centred @ centred.transpose(1, 2) / centred.shape[2]
    scale = (variance[:, one] * variance[:, other]).sqrt()
    return torch.where(scale > 0, covariance[:, one, other] / scale.clamp(min=torch.finfo(scale.dtype).tiny), 0.0)


def _median(x: Tensor) -> Tensor:
    """Return the median over the last dimension, of an even number the mean of both in the middle."""
    ordered, middle = x.sort(-1).values, x.shape[-1] // 2
    return (ordered[..., middle] + ordered[..., (x.shape[-1] - 1) // 2]) / 2
