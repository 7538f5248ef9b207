"""Waveforms to time-frequency pictures, batched, on the waveform's device.

Two layouts: xID's log10 mel magnitude (mel first) and AVID's dB power spectrogram (time first).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

PEAK = 0.95
MAGNITUDE_FLOOR = 1e-5
POWER_FLOOR = 1e-10
DYNAMIC_RANGE_DB = 100.0


def peak_normalise(waveform: Tensor) -> Tensor:
    """Scale (..., samples) so that the largest absolute value of each waveform is 0.95; silence stays silence."""
    peak = waveform.abs().amax(dim=-1, keepdim=True)
    return waveform / (peak + 1e-9) * PEAK


def log_mel(
    waveform: Tensor, *, sample_rate: int, n_fft: int = 512, hop: int = 256, window: int = 512, mels: int = 128
) -> Tensor:
    """Return log10 mel magnitudes (..., 1, mels, time) of waveforms (..., samples); xID's front end.

    Reflection of (n_fft - hop) / 2 samples at both ends, symmetric Hann window, magnitude spectrum, Slaney mel bands
    from 0 Hz to half the sample rate whose weights sum to 1, log10 of at least 1e-5. time = samples // hop where hop
    divides the samples and n_fft - hop is even.
    """
    lead, samples = waveform.shape[:-1], waveform.shape[-1]
    side = (n_fft - hop) // 2
    flat = pad(waveform.reshape(-1, 1, samples), (side, side), mode="reflect")[:, 0]
    taper = _hann(window, False, waveform.device)
    spectrum = _power(_stft(flat, taper, n_fft, hop, centre=False)).sqrt()
    bands = mel_filterbank(sample_rate, n_fft, mels, waveform.device) @ spectrum
    return bands.clamp_min(MAGNITUDE_FLOOR).log10().reshape(*lead, 1, *bands.shape[1:])


def db_spectrogram(waveform: Tensor, *, n_fft: int = 512, hop: int = 240) -> Tensor:
    """Return power in dB, (..., 1, time, n_fft // 2 + 1), of waveforms (..., samples); AVID's front end.

    Power spectrum of 2 * n_fft points (periodic Hann, zeros at both ends, centred), all bins but the first averaged in
    pairs, 10 log10, floored 100 dB below the waveform's maximum. time = samples // hop.
    """
    lead, samples = waveform.shape[:-1], waveform.shape[-1]
    taper = _hann(2 * n_fft, True, waveform.device)
    spectrum = _stft(waveform.reshape(-1, samples), taper, 2 * n_fft, hop, centre=True)
    power = _power(spectrum[..., : samples // hop])
    pairs = power[:, 1:].reshape(len(power), n_fft // 2, 2, power.shape[2]).mean(dim=2)
    level = 10 * torch.cat([power[:, :1], pairs], dim=1).clamp_min(POWER_FLOOR).log10()
    level = torch.maximum(level, level.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE_DB)
    return level.transpose(1, 2).reshape(*lead, 1, level.shape[2], level.shape[1])


def _stft(waveform: Tensor, taper: Tensor, n_fft: int, hop: int, centre: bool) -> Tensor:
    """Return the complex spectrum (N, n_fft // 2 + 1, frames) of waveforms (N, samples), N = 0 allowed."""
    if not len(waveform):  # which torch refuses before 2.15
        return _stft(waveform.new_zeros(1, waveform.shape[1]), taper, n_fft, hop, centre)[:0]
    return torch.stft(
        waveform, n_fft, hop, len(taper), taper, center=centre, pad_mode="constant", return_complex=True
    )  # fmt: skip


def _power(spectrum: Tensor) -> Tensor:
    """Return squared magnitudes; `abs` of complex numbers takes twice the time for digits below both floors."""
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


@lru_cache(maxsize=32)
def mel_filterbank(sample_rate: int, n_fft: int, mels: int, device: torch.device | str = "cpu") -> Tensor:
    """Return triangular filters on Slaney's mel scale, 0 to sample_rate / 2 Hz, float32 (mels, n_fft // 2 + 1).

    Every filter's weights sum to 1; one too narrow to touch any bin takes the bin nearest to its centre.
    """
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    top = mel_of(torch.tensor(sample_rate / 2, dtype=torch.float64))
    corners = _mel_to_hz(torch.linspace(0, float(top), mels + 2, dtype=torch.float64))
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    weights = torch.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)).clamp_min(0)
    nearest = torch.nn.functional.one_hot((frequencies - centre).abs().argmin(dim=1), len(frequencies))
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, nearest.to(weights.dtype))
    return (weights / weights.sum(dim=1, keepdim=True)).float().to(device)


@lru_cache(maxsize=32)
def _hann(length: int, periodic: bool, device: torch.device) -> Tensor:
    return torch.hann_window(length, periodic=periodic, dtype=torch.float64).float().to(device)


# Slaney's scale (Auditory Toolbox, 1998): linear to 1000 Hz at 3 mel per 200 Hz, then 27 steps per factor 6.4.
_LINEAR_HZ, _BREAK_HZ, _BREAK_MEL, _LOG_STEP = 200 / 3, 1000.0, 15.0, torch.log(torch.tensor(6.4)).item() / 27


def mel_of(hz: Tensor) -> Tensor:
    """Return frequencies on Slaney's mel scale."""
    return torch.where(
        hz < _BREAK_HZ, hz / _LINEAR_HZ, _BREAK_MEL + (hz.clamp_min(_BREAK_HZ) / _BREAK_HZ).log() / _LOG_STEP
    )


def _mel_to_hz(mel: Tensor) -> Tensor:
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, _BREAK_HZ * ((mel - _BREAK_MEL) * _LOG_STEP).exp())
