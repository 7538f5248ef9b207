"""What recordings look and sound like without a model: small pictures and spectra, which copies share.

A model that tells kinds apart gives many recordings of a kind nearly the same vector. Whether two of them are the same
recording, encoded twice, is seen in what they show, not in what they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from coview.data.source import Source
from coview.embedding.extract import read_windows

SIDE = 16  # of a small picture, and of a small spectrum in bands and in moments
_BLACK, _FLAT = 0.06, 0.02  # brightest place, and deviation, of a picture in [0, 1] that shows nothing
_STILL = 1 / 255  # frames that differ by no more are one
_FFT = 512


@dataclass(frozen=True)
class Fingerprints:
    """Of N recordings, one cut of each, the one in the middle.

    Attributes:
        looks, sounds: float16 (N, 256), centred and of length 1, so that their inner product is the correlation; zero
            where there is nothing to compare.
        odd: row -> what is wrong with its picture: "black", "one colour" or "frozen".
    """

    looks: Tensor
    sounds: Tensor
    odd: dict[int, str]

    def alike(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return the correlations of the pictures and of the sounds of pairs of rows, float32 (P,) each."""
        pairs = ((values[one].float() * values[other].float()).sum(1) for values in (self.looks, self.sounds))
        looks, sounds = pairs
        return looks, sounds


def fingerprints(source: Source, progress: Callable[[int, int], None] = lambda done, total: None) -> Fingerprints:
    """Read one cut of every recording; what cannot be read has no fingerprint."""
    looks, sounds = (torch.zeros(len(source), SIDE * SIDE, dtype=torch.float16) for _ in range(2))
    odd: dict[int, str] = {}
    done = 0
    for batch in read_windows(source, torch.arange(len(source)), 1, 32):
        for place, row in enumerate(batch.row.tolist()):
            for name in reversed(list(source.views)):  # where several show a picture, the first one decides
                if not bool(batch.present[name][place]):
                    continue
                raw, spec = batch.views[name][place], source.views[name]
                picture, sound, film = spec.picture(raw), spec.sound(raw), spec.film(raw)
                if picture is not None:
                    looks[row] = small_picture(picture)
                    frames = None if film is None else film[0]
                    odd |= {row: words} if (words := what_is_odd(picture, frames)) else {}
                if sound is not None:
                    sounds[row] = small_spectrum(sound[0])
        done += len(batch)
        progress(done, len(source))
    return Fingerprints(looks, sounds, odd)


def small_picture(picture: Tensor) -> Tensor:
    """Return the fingerprint (256,) of a picture, float (3, H, W): its lightness in 16 x 16 places."""
    return _centred(adaptive_avg_pool2d(picture.float().mean(0, keepdim=True), SIDE))


def small_spectrum(waveform: Tensor) -> Tensor:
    """Return the fingerprint (256,) of a sound, float (samples,): its level in 16 bands and 16 moments."""
    padded = torch.nn.functional.pad(waveform.float(), (0, max(0, _FFT - waveform.numel())))
    spectrum: Tensor = torch.stft(padded, _FFT, window=torch.hann_window(_FFT), return_complex=True).abs()
    low = spectrum[: _FFT // 4]  # codecs leave out what is high
    levels = adaptive_avg_pool2d(low[None], SIDE)[0]
    return _centred((levels + 1e-3 * levels.amax() + 1e-9).log())


def what_is_odd(picture: Tensor, frames: Tensor | None) -> str:
    """Return "black", "one colour" or "frozen" for the middle frame, float (3, H, W), of uint8 (3, T, H, W)."""
    if float(picture.amax()) < _BLACK:
        return "black"
    if float(picture.std()) < _FLAT:
        return "one colour"
    if frames is None or frames.shape[1] < 2:
        return ""
    steps = (frames[:, 1:].float() - frames[:, :-1].float()).abs().mean() / 255
    return "frozen" if float(steps) < _STILL / 8 else ""


def _centred(values: Tensor) -> Tensor:
    flat = values.flatten()
    return normalize(flat - flat.mean(), dim=0)
