"""The sound side of `digits-av`: a synthetic utterance whose class is the ORDER of four resonance patterns."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from coview.data.synthetic.digits_level import Level
from coview.data.synthetic.signals import SAMPLE_RATE, SAMPLES, Draw, finish_sound, log_equaliser, logistic

WINDOW, HOP = 512, 128
FORMANTS = ((300, 2250, 3000), (760, 1250, 2550), (330, 800, 2300), (520, 1750, 2500))  # Hz, of the four patterns
BANDWIDTHS = (70, 110, 170)  # Hz
WEIGHTS = (1.0, 0.7, 0.45)
# Every class holds all four patterns once, so that the long-term spectrum carries no class by design.
ORDERS = ("0123", "0321", "1032", "1203", "2310", "2013", "3102", "3210", "1302", "2130")
SCALE = {"train": (0.85, 1.08), "test": (0.97, 1.18)}  # of the formants: length of the speaker's vocal tract


def render_sound(key: Tensor, label: Tensor, level: Level, unseen: bool) -> Tensor:
    """Return float32 (B, 16000) on the int16 grid, of the classes `label` (B,) with factors drawn from `key`.

    `unseen` takes the speakers of the test ranges.
    """
    draw = Draw(key)
    shape, weight = _patterns(draw, level, SCALE["test" if unseen else "train"]), _timing(draw, level)
    source = _source(draw, level.pitch_test if unseen else level.pitch)
    order = torch.tensor([[int(p) for p in o] for o in ORDERS], device=key.device)[label]
    shape = shape.gather(1, order[:, :, None].expand(-1, -1, shape.shape[-1]))
    spectrum = torch.fft.rfft(_filter(source, shape, weight))
    equaliser = log_equaliser(draw, level.equaliser, 4.0) * (math.log(10) / 20)
    return finish_sound(draw, spectrum * torch.exp(equaliser), draw.uniform(*level.snr), draw.uniform(-28, -18))


def _patterns(draw: Draw, level: Level, scale: tuple[float, float]) -> Tensor:
    """Magnitude responses of the four patterns, (B, 4, WINDOW // 2 + 1)."""
    device = draw.key.device
    frequency = torch.arange(WINDOW // 2 + 1, device=device) * (SAMPLE_RATE / WINDOW)
    jitter = torch.exp(draw.normal(level.formant_jitter, 4, 3))
    formant = torch.tensor(FORMANTS, device=device) * jitter * draw.log_uniform(*scale)[:, None, None]
    response = torch.full((1, 1, 1), 0.01, device=device)
    for j, (width, weight) in enumerate(zip(BANDWIDTHS, WEIGHTS, strict=True)):
        response = response + weight / (1 + ((frequency - formant[:, :, j, None]) / (1.2 * width)) ** 2)
    decibel = draw.uniform(-level.segment_gain, level.segment_gain, 4)
    return response * torch.exp(decibel * (math.log(10) / 20))[:, :, None]


def _timing(draw: Draw, level: Level) -> Tensor:
    """Weight of the first to the fourth pattern in every frame, (B, 4, frames); all are 0 outside the utterance."""
    length = draw.uniform(*level.duration)
    start = 0.05 + draw.uniform(0, 1) * (0.9 - length)
    share = torch.exp(draw.normal(level.segment_jitter, 4))
    ends = share.cumsum(1) / (share[:, 0] + share[:, 1] + share[:, 2] + share[:, 3])[:, None]
    edge = start[:, None] + length[:, None] * functional.pad(ends, (1, 0))
    width = draw.uniform(0.012, 0.035)[:, None, None]
    time = torch.arange(SAMPLES // HOP + 1, device=edge.device) * (HOP / SAMPLE_RATE)
    # A blend of width w goes from 12 % to 88 % within w.
    step = logistic((time - edge[:, :, None]) * (4 / width))
    return step[:, :4] - step[:, 1:]


def _source(draw: Draw, pitch: tuple[float, float]) -> Tensor:
    """Voice before the mouth: an impulse train of unit power mixed with white noise, (B, SAMPLES)."""
    time = torch.arange(SAMPLES + 1, device=draw.key.device) / SAMPLE_RATE
    base, slope = draw.log_uniform(*pitch)[:, None], draw.uniform(-0.3, 0.3)[:, None]
    rate, phase = 2 * math.pi * draw.uniform(4, 7)[:, None], draw.uniform(0, 2 * math.pi)[:, None]
    # The integral of base (1 + slope t + .02 sin(rate t + phase)): exact, where a running sum would drift.
    cycles = base * (time + slope * time**2 / 2 - 0.02 * torch.cos(rate * time + phase) / rate)
    whole = cycles.floor()
    impulses = (whole[:, 1:] - whole[:, :-1]) * torch.sqrt(SAMPLE_RATE / base)
    noise = draw.uniform(-math.sqrt(3), math.sqrt(3), SAMPLES)
    breath = draw.uniform(0.03, 0.3)[:, None]
    return (1 - breath) * impulses + breath * noise


def _filter(source: Tensor, shape: Tensor, weight: Tensor) -> Tensor:
    """Filter by a response that changes by the frame: short-time Fourier domain and overlap-add, (B, SAMPLES)."""
    window = torch.hann_window(WINDOW, device=source.device).sqrt()
    frames = functional.pad(source, (WINDOW // 2, WINDOW // 2)).unfold(1, WINDOW, HOP) * window
    response = weight[:, 0, :, None] * shape[:, 0, None, :]
    for k in range(1, 4):
        response.addcmul_(weight[:, k, :, None], shape[:, k, None, :])
    frames = torch.fft.irfft(torch.fft.rfft(frames) * response, n=WINDOW) * window
    blocks = frames.unflatten(2, (WINDOW // HOP, HOP))  # overlap-add: every hop is the sum of four frames' quarters
    count = SAMPLES // HOP + 1
    wave = source.new_zeros(source.shape[0], count + 3, HOP)
    for q in range(WINDOW // HOP):
        wave[:, q : q + count] += blocks[:, :, q]
    return wave.flatten(1)[:, WINDOW // 2 : WINDOW // 2 + SAMPLES]
