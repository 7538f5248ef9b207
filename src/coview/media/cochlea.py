"""What the ear tells the brain: how the strength of a sound moves in 32 bands; batched, on the sound's device.

McDermott & Simoncelli, "Sound texture perception via statistics of the auditory periphery", Neuron 71, 2011: 30
half-cosine filters that are equally wide on the scale of equivalent rectangular bandwidths (Glasberg & Moore 1990), and
what lies below and above them. Filters are applied to the whole spectrum, so that time is circular: where a sound's end
does not fit its beginning, a click is heard. Filters are made on the CPU even where networks are built without memory.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

BANDS = 32
RATE = 400  # of envelopes, Hz
COMPRESSION = 0.3  # power to which an envelope is raised, as the ear compresses it
_LOW, _HIGH = 20.0, 10_000.0  # Hz, edges of the band-pass filters, where the sound reaches so high
# Samples of all bands that are computed together: on a CPU what its caches hold, elsewhere what memory holds.
_AT_ONCE = {"cpu": 1 << 21, "cuda": 1 << 27}


def erb_number(hertz: Tensor) -> Tensor:
    """Return the place on the scale of equivalent rectangular bandwidths, of frequencies in Hz."""
    return 9.265 * (1 + hertz / (24.7 * 9.265)).log()


def erb_hertz(number: Tensor) -> Tensor:
    """Return the frequencies in Hz of places on the scale of equivalent rectangular bandwidths."""
    return 24.7 * 9.265 * ((number / 9.265).exp() - 1)


def band_edges(rate: float, bands: int = BANDS) -> Tensor:
    """Return float64 (bands,), Hz: band-pass filter k lies between edges k and k + 2 and is highest in the middle.

    They reach from 20 Hz to 10 kHz, or to half the sample rate where that is less.
    """
    ends = erb_number(torch.tensor([_LOW, min(_HIGH, rate / 2)], dtype=torch.float64, device="cpu"))
    return erb_hertz(torch.linspace(float(ends[0]), float(ends[1]), bands, dtype=torch.float64, device="cpu"))


@lru_cache(maxsize=16)
def cochlear_filters(samples: int, rate: float, bands: int = BANDS) -> Tensor:
    """Return the response of every band, float64 (bands, samples // 2 + 1); the squares sum to 1 at every frequency."""
    frequencies = torch.arange(samples // 2 + 1, dtype=torch.float64, device="cpu") * rate / samples
    edges, place = erb_number(band_edges(rate, bands)), erb_number(frequencies)
    low, high = edges[:-2, None], edges[2:, None]
    inside = (place > low) & (place < high)
    middle = torch.where(inside, ((place - (low + high) / 2) / (high - low) * math.pi).cos(), 0.0)
    below = torch.where(place < edges[1], (1 - middle[0].square()).sqrt(), 0.0)
    above = torch.where(place > edges[-2], (1 - middle[-1].square()).sqrt(), 0.0)
    return torch.cat([below[None], middle, above[None]])


def subbands(waveform: Tensor, rate: float) -> Tensor:
    """Return the bands (..., 32, samples) of waveforms (..., samples)."""
    filters = cochlear_filters(waveform.shape[-1], rate).to(waveform)
    bands: Tensor = torch.fft.irfft(torch.fft.rfft(waveform)[..., None, :] * filters, waveform.shape[-1])
    return bands


def envelopes(waveform: Tensor, rate: float, polyphase: bool = False) -> Tensor:
    """Return the compressed envelopes (..., 32, frames) at 400 Hz of waveforms (..., samples), float32 or float64.

    |analytic signal| of each band to the power 0.3, then brought to 400 Hz. frames = samples * 400 / rate, rounded.

    Args:
        polyphase: bring them there by a filter, silence around the sound, and keep what is above 0, as the Sound
            Texture Synthesis Toolbox does; otherwise by cutting the spectrum off, within -1 to 1, as Owens et al. do.

    Raises:
        ValueError: the sample rate is not above 800 Hz, or for the filter no multiple of 400; or there is no frame.
    """
    samples = waveform.shape[-1]
    frames = round(samples * RATE / rate)
    if rate <= 2 * RATE or frames < 1 or (polyphase and rate % RATE):
        raise ValueError(f"envelopes need sound at more than {2 * RATE} Hz, of a frame at least; found {rate:g} Hz")
    flat = waveform.reshape(-1, samples)
    filters = cochlear_filters(samples, rate).to(flat)
    parts = [flat.new_zeros(0, BANDS, frames)]
    together = max(1, _AT_ONCE.get(flat.device.type, 1 << 23) // (BANDS * samples))
    spectra = torch.fft.rfft(flat[:0], samples).new_zeros(min(together, len(flat)), BANDS, samples)
    for part in torch.split(flat, together) if len(flat) else ():
        strength = _compressed(part, filters, spectra[: len(part)], _extents(samples, rate))
        parts.append(filtered(strength, round(rate / RATE)) if polyphase else resampled(strength, frames))
    found = torch.cat(parts)
    found = found.clamp(min=0.0) if polyphase else found.clamp(-1.0, 1.0)
    return found.reshape(*waveform.shape[:-1], BANDS, frames)


def _compressed(waveform: Tensor, filters: Tensor, spectra: Tensor, extents: list[slice]) -> Tensor:
    """Return |analytic signal| ** 0.3 of each band; `spectra` (B, 32, samples) is room that is 0 beyond the extents."""
    samples = waveform.shape[1]
    spectrum = torch.fft.rfft(waveform)
    spectrum[:, 1 : (samples + 1) // 2] *= 2  # the analytic signal holds the negative frequencies' share
    for band, extent in enumerate(extents):
        torch.mul(spectrum[:, extent], filters[band, extent], out=spectra[:, band, extent])
    analytic: Tensor = torch.fft.ifft(spectra)
    power = analytic.real.square().add_(analytic.imag.square())
    return power.log_().mul_(COMPRESSION / 2).exp_()  # half the time of a power; 0 stays 0


@lru_cache(maxsize=16)
def _extents(samples: int, rate: float) -> list[slice]:
    """Return the frequencies of each band, from the first to the last that it lets through."""
    found = [(response > 0).nonzero().flatten().tolist() for response in cochlear_filters(samples, rate)]
    return [slice(places[0], places[-1] + 1) if places else slice(0, 0) for places in found]


def resampled(x: Tensor, samples: int) -> Tensor:
    """Return x (..., n) at `samples` equally spaced moments, by its spectrum; samples <= n."""
    spectrum = torch.fft.rfft(x)[..., : samples // 2 + 1]
    if samples % 2 == 0 and samples < x.shape[-1]:
        spectrum[..., -1] *= 2  # where the cut lies, the frequency above folds onto it
    fewer: Tensor = torch.fft.irfft(spectrum, samples)
    return fewer * (samples / x.shape[-1])


def filtered(x: Tensor, step: int) -> Tensor:
    """Return every `step`-th moment of x (..., n) behind a low-pass filter, with zeros around x: (..., ceil(n / step)).

    Kaiser's window design: 60 dB at half the new rate, a tenth of which the filter takes to fall.
    """
    kernel, samples = _low_pass(step).to(x), x.shape[-1]
    # Longer than both, so that what leaves one end does not come in at the other; such lengths are fast.
    whole = -(-(samples + len(kernel)) // 1024) * 1024
    response = torch.fft.rfft(kernel, whole)
    late: Tensor = torch.fft.irfft(torch.fft.rfft(x, whole) * response, whole)
    return late[..., len(kernel) // 2 :][..., :samples:step]


@lru_cache(maxsize=16)
def _low_pass(step: int) -> Tensor:
    cutoff, rejection = 1 / (2 * step), 60.0
    side = math.ceil((rejection - 8) / (28.714 * cutoff / 10))
    window = torch.kaiser_window(2 * side + 1, False, 0.1102 * (rejection - 8.7), dtype=torch.float64, device="cpu")
    moments = torch.arange(-side, side + 1, dtype=torch.float64, device="cpu")
    ideal: Tensor = torch.special.sinc(2 * cutoff * moments)
    return 2 * cutoff * ideal * window
