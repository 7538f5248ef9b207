"""What both procedural worlds draw and shape: named random factors, moving noise fields, equalisers, coloured noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coview.randomness import normal, uniform

SAMPLE_RATE = 16000
SAMPLES = 16000  # every clip's sound lasts one second


class Draw:
    """Random factors of B clips in the order of the calls; each call is a new stream of the same keys.

    The order of calls is therefore part of a world's definition: changing it needs a new version of the world.
    """

    def __init__(self, key: Tensor) -> None:
        self.key = key
        self._stream = 0

    def _next(self) -> int:
        self._stream += 1
        return self._stream

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return float32 `(B, *shape)` in [low, high)."""
        return low + (high - low) * uniform(self.key, self._next(), *shape)

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return float32 `(B, *shape)` in [low, high), uniform in the logarithm."""
        return torch.exp(self.uniform(math.log(low), math.log(high), *shape))

    def normal(self, deviation: float, *shape: int) -> Tensor:
        """Return float32 `(B, *shape)` with mean 0."""
        return deviation * normal(self.key, self._next(), *shape)

    def sign(self) -> Tensor:
        """Return float32 (B,) of -1 or +1, evenly."""
        return torch.where(uniform(self.key, self._next()) < 0.5, -1.0, 1.0)


def moving_field(draw: Draw, size: int, exponent: Tensor, shift: Tensor) -> Tensor:
    """Return 1/f^exponent fields that move: float32 (B, T, size, size), mean 0, unit variance over the first frame.

    Args:
        draw: source of the white field.
        size: side in pixels; the field is periodic.
        exponent: (B,), of the amplitude spectrum.
        shift: (B, T, 2), T even: displacement of every frame in pixels, (y, x); a phase, so it may be fractional.
    """
    fy = torch.fft.fftfreq(size, device=shift.device)[:, None]
    fx = fy.T
    radius = torch.sqrt(fy**2 + fx**2)
    log_radius = torch.log(radius.clamp_min(1.0 / size))
    spectrum = torch.fft.fft2(draw.normal(1.0, size, size)) * torch.exp(-exponent[:, None, None] * log_radius)
    # The mean and the Nyquist lines are dropped: the latter have no well-defined fractional shift.
    spectrum = spectrum * ((radius > 0) & (fy > -0.5) & (fx > -0.5))
    angle = -2 * math.pi * shift[..., None] * fx[0]
    turn = torch.complex(angle.cos(), angle.sin())
    phase = turn[:, :, 0, :, None] * turn[:, :, 1, None, :]
    # Two real frames share one complex transform: its real and its imaginary part. (The transform to real numbers of 32
    # pixels rounds differently with the number of threads.)
    pairs = torch.fft.ifft2(spectrum[:, None] * (phase[:, 0::2] + 1j * phase[:, 1::2]))
    field = torch.stack([pairs.real, pairs.imag], 2).flatten(1, 2)
    first = field[:, 0].flatten(1)
    return field / torch.sqrt(row_mean(first**2)).clamp_min(1e-6)[:, None, None, None]


def light(draw: Draw, size: int, strength: float) -> Tensor:
    """Return linear light gradients (B, size, size), within +-strength along each axis at the border."""
    ramp = torch.linspace(-1, 1, size, device=draw.key.device)
    slope = draw.uniform(-strength, strength, 2)
    return slope[:, 0, None, None] * ramp[:, None] + slope[:, 1, None, None] * ramp[None, :]


def log_equaliser(draw: Draw, deviation: float, tilt: float) -> Tensor:
    """Return a random smooth equaliser plus a tilt over log frequency: (B, SAMPLES // 2 + 1), unit of `deviation`.

    Four cosines of amplitude N(0, deviation / 2) with 0.14 k cycles per octave (k = 1..4), random phases, and
    U(+-tilt) per octave around 1 kHz.
    """
    octave = _octaves(draw.key.device)
    amplitude, phase = draw.normal(deviation / 2, 4), draw.uniform(0, 2 * math.pi, 4)
    curve = draw.uniform(-tilt, tilt)[:, None] * octave
    for k in range(4):
        turn = 2 * math.pi * 0.14 * (k + 1) * octave
        # cos(a + b) expanded, so that the trigonometry of the whole band is done once and not per clip.
        curve = curve + (amplitude[:, k] * phase[:, k].cos())[:, None] * turn.cos()
        curve = curve - (amplitude[:, k] * phase[:, k].sin())[:, None] * turn.sin()
    return curve


def noise_spectrum(draw: Draw, exponent: Tensor) -> Tensor:
    """Return the half spectrum of noise with amplitude f^-exponent: complex64 (B, SAMPLES // 2 + 1), unit power."""
    parts = draw.uniform(-1, 1, 2, SAMPLES // 2 + 1)
    shape = torch.exp(-exponent[:, None] * math.log(2) * _octaves(draw.key.device))
    spectrum = torch.complex(parts[:, 0] * shape, parts[:, 1] * shape)
    return spectrum / torch.sqrt(spectrum_power(spectrum))[:, None]


def spectrum_power(spectrum: Tensor) -> Tensor:
    """Return the mean square (B,) of the signals whose half spectra (`rfft`, unnormalised) are given (Parseval)."""
    return row_mean(spectrum.real**2 + spectrum.imag**2) * (2 * spectrum.shape[-1] / SAMPLES**2)


def logistic(values: Tensor) -> Tensor:
    """Return 1 / (1 + exp(-x)). Unlike `torch.sigmoid`, the same for an element wherever it lies in memory."""
    return 1 / (1 + torch.exp(-values))


def row_mean(values: Tensor) -> Tensor:
    """Mean of every row of (B, N) in float64 and an order of additions that does not depend on B."""
    return torch.mean(values.double(), 1).float()


def finish_sound(draw: Draw, spectrum: Tensor, snr: Tensor, gain: Tensor) -> Tensor:
    """Add coloured noise at `snr` dB, scale to `gain` dB of full scale; float32 (B, SAMPLES) on the int16 grid."""
    noise = noise_spectrum(draw, draw.uniform(0, 0.5))
    level = torch.sqrt(spectrum_power(spectrum)) * torch.exp(snr * (-math.log(10) / 20))
    mixed = spectrum + level[:, None] * noise
    scale = torch.exp(gain * (math.log(10) / 20)) / torch.sqrt(spectrum_power(mixed))
    wave = torch.fft.irfft(mixed * scale[:, None], n=SAMPLES)
    wave = wave / wave.abs().amax(1, keepdim=True).clamp_min(1.0)  # quieter rather than clipped
    return torch.round(wave * 32768).clamp_(-32768, 32767) / 32768


def to_bytes(picture: Tensor) -> Tensor:
    """Return pictures of [0, 1] as uint8."""
    return torch.round(picture.clamp(0, 1) * 255).to(torch.uint8)


def _octaves(device: torch.device) -> Tensor:
    """log2 of frequency over 1 kHz for every bin of the half spectrum; the lowest bins are held at 20 Hz."""
    frequency = torch.arange(SAMPLES // 2 + 1, device=device) * (SAMPLE_RATE / SAMPLES)
    return torch.log2(frequency.clamp_min(20.0) / 1000.0)
