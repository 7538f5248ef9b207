"""Waveforms as they are stored: 16 bits a sample."""

from __future__ import annotations

import torch
from torch import Tensor

FULL_SCALE = 32767  # int16 value of a waveform's 1.0


def to_int16(waveform: Tensor) -> Tensor:
    """Return a waveform (full scale 1) as int16; values beyond full scale are clipped to it."""
    return (waveform * FULL_SCALE).round().clamp(-FULL_SCALE, FULL_SCALE).to(torch.int16)


def to_float(samples: Tensor) -> Tensor:
    """Return int16 samples as a float32 waveform; `to_int16` gives exactly the same samples back."""
    return samples.to(torch.float32) / FULL_SCALE
