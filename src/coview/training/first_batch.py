"""The first augmented batch, to look at and to listen to: the cheapest check there is."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.image import imsave
from torch import Tensor

from coview.data.text import decode_characters
from coview.data.views import AudioView, Batch, TextView, VideoView, ViewSpec

SHOWN = 8  # samples


def write_samples(folder: Path, views: Mapping[str, ViewSpec], raw: Batch, model: Batch) -> None:
    """Write, for up to 8 samples, what the method is given and what it was cut from.

    `<view>.png` shows the model's frames, a row per sample, or the spectrograms below each other, low bands at the
    bottom; each is stretched to its own range. `<view>-<n>.wav` is the sound before augmentation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, spec in views.items():
        values = model.views[name][:SHOWN].float().cpu()
        if isinstance(spec, VideoView):
            clips = values[:, :, None] if values.ndim == 4 else values
            rows = [torch.cat(list(_stretch(clip).unbind(1)), dim=2) for clip in clips]
            _write_png(folder / f"{name}.png", torch.cat(rows, dim=1))
        elif isinstance(spec, AudioView):
            _write_sounds(folder, name, spec, raw.views[name][:SHOWN], values)
        elif isinstance(spec, TextView) and spec.tokens == "characters":
            lines = [decode_characters(codes) for codes in raw.views[name][:SHOWN]]
            (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_sounds(folder: Path, name: str, spec: AudioView, waveforms: Tensor, values: Tensor) -> None:
    pictures = values if spec.layout == "mel" else values.transpose(2, 3)
    grid = torch.cat([_stretch(picture).flip(1) for picture in pictures], dim=1)
    _write_png(folder / f"{name}.png", grid.expand(3, -1, -1))
    for index, waveform in enumerate(waveforms):
        _write_wav(folder / f"{name}-{index}.wav", waveform, spec)


def _stretch(values: Tensor) -> Tensor:
    """Map the range of the values to 0..255, uint8; what is constant becomes black."""
    low, high = values.min(), values.max()
    return ((values - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)


def _write_png(path: Path, picture: Tensor) -> None:
    imsave(path, picture.permute(1, 2, 0).contiguous().numpy())


def _write_wav(path: Path, waveform: Tensor, spec: AudioView) -> None:
    samples = (waveform.cpu().clamp(-1, 1) * 32767).round().to(torch.int16)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(spec.sample_rate)
        file.writeframes(samples.numpy().astype("<i2").tobytes())
