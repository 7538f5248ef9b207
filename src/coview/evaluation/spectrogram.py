"""Sounds to look at: spectrograms in colour, with seconds and frequencies on their axes."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from coview.evaluation.figures import spectrogram, ticks
from coview.evaluation.sheets import as_uri
from coview.media.logmel import log_mel, mel_of

MELS, COLUMNS = 64, 160  # of the picture
_RANGE = 4.0  # decades of magnitude that are told apart
_FREQUENCIES = (250, 500, 1000, 2000, 4000, 8000, 16000)
# From silent to loud: red, green and blue.
_RAMP = np.array([[12, 14, 38], [62, 40, 110], [170, 55, 95], [235, 125, 60], [252, 240, 190]], dtype=np.float64)


def colours(waveform: Tensor, rate: int) -> NDArray[np.uint8]:
    """Return the spectrogram of a waveform (samples,) as a picture uint8 (64, 160, 3), low bands at the bottom."""
    n_fft = 2 ** math.ceil(math.log2(0.03 * rate))
    padded = torch.nn.functional.pad(waveform.float()[None], (0, max(0, 2 * n_fft - len(waveform))))
    image = log_mel(padded, sample_rate=rate, n_fft=n_fft, window=n_fft, hop=n_fft // 4, mels=MELS)[0]
    return coloured(interpolate(image.flip(1)[None], (MELS, COLUMNS), mode="bilinear", antialias=True)[0, 0])


def coloured(image: Tensor) -> NDArray[np.uint8]:
    """Return levels (H, W), in decades of magnitude, as colours uint8 (H, W, 3): the loudest and four decades below."""
    level = ((image - image.max()) / _RANGE + 1).clamp(0, 1).double().numpy()
    steps = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(level, steps, part) for part in _RAMP.T], axis=2).round().astype(np.uint8)


def drawn(waveform: Tensor, rate: int) -> str:
    """Return the figure (SVG) of a waveform's spectrogram, with its axes."""
    top = float(mel_of(torch.tensor(rate / 2)))
    places = [
        (float(mel_of(torch.tensor(float(hz)))) / top, f"{hz:,}")
        for hz in _FREQUENCIES
        if hz <= rate / 2 and (hz >= 1000 or hz == _FREQUENCIES[0])
    ]
    return spectrogram(as_uri(colours(waveform, rate)), len(waveform) / rate, places, "Hz, mel scale")


def bands(levels: NDArray[np.uint8], seconds: float) -> str:
    """Return the figure of a spectrogram as a model is given it: levels (bands, time), low bands at the bottom."""
    count = len(levels)
    places = [((mark + 0.5) / count, f"{mark:.0f}") for mark in ticks(0, count - 1, 4)]
    picture = coloured(torch.from_numpy(levels.copy()).double() * (_RANGE / 255))
    return spectrogram(as_uri(picture), seconds, places, "band, low to high")
