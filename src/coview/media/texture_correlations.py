"""Sound textures in full: the moments and correlations of McDermott & Simoncelli's statistics.

McDermott & Simoncelli, "Sound texture perception via statistics of the auditory periphery", Neuron 71, 2011; equal to
their Sound Texture Synthesis Toolbox with a uniform window.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from coview.media.cochlea import RATE, envelopes, subbands
from coview.media.textures import band_power, modulation_filters

MODULATION = 20  # bands of modulation, as wide as their centre is high
OCTAVES = (1.5625, 3.125, 6.25, 12.5, 25.0, 50.0, 100.0)  # Hz, centres of the bands of C1 (from the second on) and C2


def full_texture(waveform: Tensor, rate: float) -> dict[str, Tensor]:
    """Return the statistics of waveforms (B, samples), float32 or float64 as the waveform is; 0 where undefined.

    mean, variation (standard deviation over mean), skew, kurtosis, subband_variance: (B, 32), of envelopes and bands;
    modulation: (B, 32, 20), power over variance, without the bands that hold no frequency of the sound;
    correlation: (B, 32, 32), of envelopes;
    c1: (B, 6, 32, 32), of one octave of modulation in two bands;
    c2: (B, 32, 6, 2), of one octave, its phase doubled, with the next, real and imaginary part.
    """
    envelope = envelopes(waveform, rate, polyphase=True)
    mean = envelope.mean(2)
    centred = envelope - mean[:, :, None]
    variance = centred.square().mean(2)
    bands = octave_bands(centred)
    return {
        "mean": mean,
        "variation": _ratio(variance.sqrt(), mean),
        "skew": _ratio(centred.pow(3).mean(2), variance.pow(1.5)),
        "kurtosis": _ratio(centred.pow(4).mean(2), variance.square()),
        "subband_variance": subbands(waveform, rate).var(2),
        "modulation": _ratio(band_power(centred, modulation_filters(envelope.shape[2], MODULATION, 2.0)), variance),
        "correlation": _correlations(centred),
        "c1": _correlations(bands[:, 1:].real),
        "c2": phase_correlations(bands),
    }


@lru_cache(maxsize=16)
def octave_filters(frames: int) -> Tensor:
    """Return half a cosine over two octaves around each centre, on a logarithmic scale: (7, frames // 2 + 1)."""
    frequencies = torch.arange(frames // 2 + 1, dtype=torch.float64, device="cpu") * RATE / frames
    away = (frequencies.clamp(min=1e-9) / torch.tensor(OCTAVES, dtype=torch.float64, device="cpu")[:, None]).log2()
    return torch.where(away.abs() < 1, (away * math.pi / 2).cos(), 0.0)


def octave_bands(envelope: Tensor) -> Tensor:
    """Return the analytic signals, complex (B, 7, 32, T), of envelopes (B, 32, T) in octaves of modulation."""
    frames = envelope.shape[2]
    spectrum = torch.fft.rfft(envelope)[:, None] * octave_filters(frames).to(envelope)[:, None]
    spectrum[..., 1 : (frames + 1) // 2] *= 2
    bands: Tensor = torch.fft.ifft(spectrum, frames)
    return bands


def phase_correlations(bands: Tensor) -> Tensor:
    """Return C2 (B, 32, 6, 2) of analytic signals (B, 7, 32, T): a band at twice its phase, and the octave above."""
    coarse, fine = bands[:, :-1], bands[:, 1:]
    doubled = (coarse.square() / coarse.abs().clamp(min=torch.finfo(coarse.real.dtype).tiny)).real
    scale = (doubled.square().mean(-1) * fine.real.square().mean(-1)).sqrt()
    parts = [_ratio((doubled * part).mean(-1), scale) for part in (fine.real, fine.imag)]
    return torch.stack(parts, -1).transpose(1, 2)


def _correlations(x: Tensor) -> Tensor:
    """Return the correlations (..., D, D) of signals (..., D, T) whose means are zero."""
    power = x.square().mean(-1).sqrt()
    return _ratio(x @ x.transpose(-1, -2) / x.shape[-1], power[..., :, None] * power[..., None, :])


def _ratio(value: Tensor, over: Tensor) -> Tensor:
    over = over.reshape(*over.shape, *[1] * (value.ndim - over.ndim))
    return torch.where(over > 0, value / over.clamp(min=torch.finfo(over.dtype).tiny), 0.0)
