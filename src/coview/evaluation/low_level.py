"""Plain statistics of pictures and sounds: what can be read from a clip without knowing what is in it."""

from __future__ import annotations

import torch
from torch import Tensor

from coview.media.logmel import log_mel

_FLOOR = 1e-8
_SAMPLE_RATE, _HOP = 16000, 200


def video_statistics(video: Tensor) -> Tensor:
    """Return 39 numbers per clip, float32 (B, 39), of uint8 frames (B, 3, T, S, S), T >= 2.

    Mean, deviation, skewness and kurtosis of brightness; its histogram (16 bins); log energy of frame differences and
    its variation over time; log energies of the gradients (across, down); log spectrum in 15 rings.
    """
    grey = video.float().mean(1) / 255
    flat = grey.flatten(1)
    mean, deviation = flat.mean(1, keepdim=True), flat.std(1, keepdim=True) + _FLOOR
    standard = (flat - mean) / deviation
    moments = torch.cat([mean, deviation, (standard**3).mean(1, keepdim=True), (standard**4).mean(1, keepdim=True)], 1)
    bins = (flat * 16).long().clamp_(0, 15)
    histogram = torch.zeros(len(flat), 16, device=flat.device).scatter_add_(1, bins, torch.ones_like(flat))
    change = _change(grey, 1)
    motion = torch.stack([_log(change.mean(1)), change.std(1) / (change.mean(1) + _FLOOR)], 1)
    across, down = (grey.diff(dim=d).square().flatten(1).mean(1) for d in (3, 2))
    gradients = torch.stack([_log(across), _log(down)], 1)
    return torch.cat([moments, histogram / flat.shape[1], motion, gradients, _rings(grey)], 1)


def motion_lags(video: Tensor) -> Tensor:
    """Return log energies of differences over 2 and 3 frames relative to those over 1, float32 (B, 2)."""
    grey = video.float().mean(1) / 255
    one = _log(_change(grey, 1).mean(1))
    return torch.stack([_log(_change(grey, lag).mean(1)) - one for lag in (2, 3)], 1)


def audio_statistics(waveform: Tensor) -> Tensor:
    """Return 87 numbers per clip, float32 (B, 87), of waveforms (B, samples) at 16 kHz.

    Log level, zero crossings, spectral centroid, bandwidth and 85 % roll-off, centre and spread of the energy in time;
    mean and deviation over time of each of 40 log mel bands.
    """
    level = _log(waveform.square().mean(1))
    crossings = (waveform[:, 1:] * waveform[:, :-1] < 0).float().mean(1)
    power = torch.fft.rfft(waveform).abs().square()
    centroid, bandwidth = _moments(power)
    passed = power.cumsum(1) >= 0.85 * power.sum(1, keepdim=True)
    rolloff = 1 - passed.float().mean(1)
    centre, spread = _moments(_envelope(waveform))
    bands = log_mel(waveform, sample_rate=_SAMPLE_RATE, n_fft=512, window=400, hop=_HOP, mels=40)[:, 0]
    whole = torch.stack([level, crossings, centroid, bandwidth, rolloff, centre, spread], 1)
    return torch.cat([whole, bands.mean(2), bands.std(2)], 1)


def envelope_variation(waveform: Tensor) -> Tensor:
    """Return the deviation of the energy over time relative to its mean, float32 (B, 1)."""
    envelope = _envelope(waveform)
    return envelope.std(1, keepdim=True) / (envelope.mean(1, keepdim=True) + _FLOOR)


def _change(grey: Tensor, lag: int) -> Tensor:
    return (grey[:, lag:] - grey[:, :-lag]).square().mean((2, 3))


def _log(values: Tensor) -> Tensor:
    return torch.log(values + _FLOOR)


def _envelope(waveform: Tensor) -> Tensor:
    return waveform.unfold(1, 2 * _HOP, _HOP).square().mean(2)


def _moments(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and spread of weights (B, N) along their axis, which runs from 0 to 1."""
    share = weight / (weight.sum(1, keepdim=True) + _FLOOR)
    place = torch.linspace(0, 1, weight.shape[1], device=weight.device)
    centre = (share * place).sum(1)
    return centre, torch.sqrt((share * (place - centre[:, None]) ** 2).sum(1))


def _rings(grey: Tensor) -> Tensor:
    """Log power of the two-dimensional spectrum, mean over frames, in 15 rings of equal width up to half a cycle."""
    size = grey.shape[-1]
    window = torch.hann_window(size, periodic=False, device=grey.device)
    centred = grey - grey.mean((2, 3), keepdim=True)
    power = torch.fft.rfft2(centred * window[:, None] * window).abs().square().mean(1).flatten(1)
    fy, fx = torch.fft.fftfreq(size, device=grey.device)[:, None], torch.fft.rfftfreq(size, device=grey.device)
    ring = (torch.sqrt(fy**2 + fx**2) * 30).long().flatten()
    inside = ring < 15
    ones = torch.zeros(15, device=grey.device).scatter_add_(0, ring[inside], torch.ones_like(power[0, inside]))
    total = torch.zeros(len(grey), 15, device=grey.device).index_add_(1, ring[inside], power[:, inside])
    return _log(total / ones)
