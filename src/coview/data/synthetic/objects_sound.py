"""The sound side of `objects-av`: six impacts in one second; the object is how they ring, the action when they fall."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coview.data.synthetic.objects_difficulty import Difficulty
from coview.data.synthetic.objects_picture import Scene
from coview.data.synthetic.signals import SAMPLE_RATE, SAMPLES, Draw, finish_sound, log_equaliser

IMPACTS, MODES = 6, 5
TYPICAL = 11.0  # radius in pixels that sounds at 900 Hz
# Gaps between the five modes; every set is centred and scaled to the same spread.
GAPS = ((1, 1, 1, 1), (0.3, 1.7, 1.7, 0.3), (1.7, 0.3, 0.3, 1.7), (0.3, 1.7, 0.3, 1.7), (1.7, 0.3, 1.7, 0.3),
        (0.4, 0.4, 1.6, 1.6))  # fmt: skip
SPREAD = 0.78  # octaves
# Intervals in sixths of the second, cyclic: six impacts for every action.
INTERVALS = ((1, 1, 1, 1, 1, 1), (0.6, 1.4, 0.6, 1.4, 0.6, 1.4), (0.55, 0.55, 1.9, 0.55, 0.55, 1.9),
             (1.592, 1.288, 1.042, 0.843, 0.682, 0.553))  # fmt: skip


def render_sound(key: Tensor, scene: Scene, difficulty: Difficulty) -> Tensor:
    """Return float32 (B, 16000) on the int16 grid of the scenes, with the other factors drawn from `key`."""
    draw = Draw(key)
    impacts = torch.fft.rfft(_impacts(draw, scene))
    ring = _response(draw, scene, difficulty)
    equaliser = torch.exp(log_equaliser(draw, difficulty.equaliser, 0.8 / 3.5))
    return finish_sound(draw, impacts * ring * equaliser, draw.uniform(10, 24), draw.uniform(-26, -16))


def _impacts(draw: Draw, scene: Scene) -> Tensor:
    """Impulses of random strength at the action's times, (B, SAMPLES); the second is a circle."""
    intervals = torch.tensor(INTERVALS, device=draw.key.device)[scene.action]
    time = intervals.cumsum(1) / IMPACTS + scene.timing[:, None] + draw.normal(0.006, IMPACTS)
    place = torch.remainder((time * SAMPLES).long(), SAMPLES)
    train = torch.zeros(len(place), SAMPLES, device=place.device)
    for k in range(IMPACTS):  # one after the other: two impacts on one sample add up in a fixed order
        train.scatter_add_(1, place[:, k : k + 1], torch.exp(draw.normal(0.3, 1)))
    return train


def _response(draw: Draw, scene: Scene, difficulty: Difficulty) -> Tensor:
    """Spectrum (B, SAMPLES // 2 + 1) of five decaying modes; sampled at whole hertz, it rings around the circle.

    A mode exp(-a t) sin(w t) has the Fourier transform w / ((a + i v)^2 + w^2) at angular frequency v.
    """
    device = draw.key.device
    jitter = torch.exp(draw.normal(0.08))
    centre = 0.9 * torch.exp(1.5 * torch.log(TYPICAL / scene.size)) * jitter  # in kHz, so that squares stay small
    mode = 2 * math.pi * centre[:, None] * torch.exp(math.log(2) * _ratios(device)[scene.object])
    decay = (math.log(1000) / 1000) / draw.uniform(0.10, 0.25)
    strength = torch.exp(draw.normal(difficulty.mode_deviation, MODES))
    v = torch.arange(SAMPLES // 2 + 1, device=device) * (2 * math.pi * SAMPLE_RATE / SAMPLES / 1000)
    real, imaginary = torch.zeros(2, len(mode), len(v), device=device)
    p = 2 * decay[:, None] * v
    for m in range(MODES):
        w = mode[:, m, None]
        q = decay[:, None] ** 2 + w**2 - v**2
        weight = strength[:, m, None] * w / (q * q + p * p)
        real, imaginary = real + weight * q, imaginary - weight * p
    return torch.complex(real, imaginary)


def _ratios(device: torch.device) -> Tensor:
    """log2 of the modes' ratios to the centre frequency, (6, 5): mean 0, deviation SPREAD octaves."""
    gaps = torch.tensor(GAPS, device=device)
    place = torch.cat([torch.zeros_like(gaps[:, :1]), gaps.cumsum(1)], 1)
    place = place - place.mean(1, keepdim=True)
    return place * SPREAD / torch.sqrt((place**2).mean(1, keepdim=True))
