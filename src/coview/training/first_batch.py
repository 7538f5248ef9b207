"""The first augmented batch, to look at and to listen to: the cheapest check there is."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from coview.data.views import Batch, ViewSpec, made_of
from coview.media.waveform import to_int16

SHOWN = 8  # samples


def write_samples(folder: Path, views: Mapping[str, ViewSpec], raw: Batch, model: Batch) -> None:
    """Write, for up to 8 samples, what the method is given and what it was cut from.

    `<view>.png` shows the model's frames, a row per sample, or the spectrograms below each other, low bands at the
    bottom; each is stretched to its own range. `<view>-<n>.wav` is the sound before augmentation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, spec in views.items():
        values = model.views[name][:SHOWN].float().cpu()
        strips = [strip for value in values if (strip := spec.strip(value)) is not None]
        if strips:
            _write_png(folder / f"{name}.png", torch.cat([_stretch(strip) for strip in strips], dim=1))
        here = raw.views[made_of(name, spec, raw)][:SHOWN]
        for index, sound in enumerate(spec.sound(value) for value in here):
            if sound is not None:
                _write_wav(folder / f"{name}-{index}.wav", *sound)
        lines = [words for value in here if (words := spec.words(value)) is not None]
        if lines:
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _stretch(values: Tensor) -> Tensor:
    """Map the range of the values to 0..255, uint8; what is constant becomes black."""
    low, high = values.min(), values.max()
    return ((values - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)


def _write_png(path: Path, picture: Tensor) -> None:
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(path)


def _write_wav(path: Path, waveform: Tensor, rate: int) -> None:
    samples = to_int16(waveform.cpu())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.numpy().astype("<i2").tobytes())
