"""Sounds on their way into a method: level, spectrogram, masks; whole batches, on the batch's device.

Every function takes one key per clip (int64 (B,)), so that a clip's sound does not depend on its neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.media.logmel import db_spectrogram, log_mel, peak_normalise
from coview.randomness import normal, uniform

if TYPE_CHECKING:
    from coview.data.views import AudioView

_VOLUME, _SHIFT, _TILT, _NOISE, _TIME, _BANDS = range(200, 206)


def spectrogram(waveform: Tensor, view: AudioView) -> Tensor:
    """Return what `view` says of waveforms (B, samples): (B, 1, mels, time) or (B, 1, time, frequencies)."""
    if view.layout == "mel":
        return log_mel(
            waveform, sample_rate=view.sample_rate, n_fft=view.n_fft, hop=view.hop, window=view.window, mels=view.mels
        )
    return db_spectrogram(waveform, n_fft=view.n_fft, hop=view.hop)


def levelled(waveform: Tensor, key: Tensor | None, augment: AugmentSettings) -> Tensor:
    """Bring each waveform (B, samples) to a peak of 0.95, times a random volume where `key` is given."""
    waveform = peak_normalise(waveform)
    if key is None:
        return waveform
    low, high = augment.volume
    return waveform * (low + (high - low) * uniform(key, _VOLUME))[:, None]


def vary(image: Tensor, view: AudioView, key: Tensor, augment: AugmentSettings) -> Tensor:
    """Shift in time, tilt over frequency and mask spectrograms (B, 1, ., .), before normalisation."""
    time, bands = (3, 2) if view.layout == "mel" else (2, 3)
    if augment.sound_shift:
        steps = torch.floor(uniform(key, _SHIFT) * (2 * augment.sound_shift + 1)).long() - augment.sound_shift
        image = _roll(image, steps, time)
    if augment.tilt:
        rise = torch.linspace(-0.5, 0.5, image.shape[bands], device=image.device)
        slope = augment.tilt * (uniform(key, _TILT) * 2 - 1)
        image = image + (slope[:, None] * rise)[:, None].unsqueeze(time)
    masked = _masks(image.shape[time], key, _TIME, augment.time_masked, augment.time_mask)[:, None].unsqueeze(bands)
    masked = masked | _masks(image.shape[bands], key, _BANDS, augment.band_masked, augment.band_mask)[
        :, None
    ].unsqueeze(time)
    return torch.where(masked, image.amin(dim=(1, 2, 3), keepdim=True), image)


def disturb(image: Tensor, key: Tensor, augment: AugmentSettings) -> Tensor:
    """Add noise to normalised spectrograms."""
    if not augment.sound_noise:
        return image
    return image + augment.sound_noise * normal(key, _NOISE, *image.shape[1:])


def _roll(image: Tensor, steps: Tensor, axis: int) -> Tensor:
    length = image.shape[axis]
    source = (torch.arange(length, device=image.device) - steps[:, None]) % length
    shape = [image.shape[0], 1, 1, 1]
    shape[axis] = length
    return image.gather(axis, source.reshape(shape).expand_as(image))


def _masks(length: int, key: Tensor, stream: int, share: tuple[float, float], longest: int) -> Tensor:
    """Return bool (B, length): floor(ratio * length) // longest masks of 1 to `longest`, ratio uniform in `share`."""
    most = int(share[1] * length) // longest
    if most == 0:
        return torch.zeros(len(key), length, dtype=torch.bool, device=key.device)
    draws = uniform(key, stream, 1 + 2 * most)
    ratio = share[0] + (share[1] - share[0]) * draws[:, :1]
    count = torch.floor(ratio * length).long() // longest
    size = 1 + torch.floor(draws[:, 1 : 1 + most] * longest).long()
    first = torch.floor(draws[:, 1 + most :] * (length - size + 1)).long()
    place = torch.arange(length, device=key.device)
    inside = (place >= first[..., None]) & (place < (first + size)[..., None])
    active = torch.arange(most, device=key.device) < count
    return (inside & active[..., None]).any(1)
