"""Sound: a waveform that becomes a spectrogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class AudioView:
    """A short piece of sound, mono.

    Raw: float32 waveform (samples,), full scale 1. Model: float32 (1, mels, time) for layout "mel" or
    (1, time, frequencies) for layout "spectrogram".
    """

    stream: Literal["audio"] = "audio"
    seconds: float = 2.0
    sample_rate: int = 16000
    layout: Literal["mel", "spectrogram"] = "mel"  # xID's log10 mel magnitude; AVID's dB power
    n_fft: int = 512
    hop: int = 256
    window: int = 512
    mels: int = 128
    # Per-band z-score from data statistics, or each clip by its own: mean of every band, or one mean and deviation.
    normalise: Literal["statistics", "clip"] = "clip"

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.sample_rate < 1000 or self.hop < 1 or self.window > self.n_fft:
            raise ValueError("an audio view needs seconds > 0, sample_rate >= 1000, hop >= 1 and window <= n_fft")

    @property
    def samples(self) -> int:
        """Length of the waveform in samples."""
        return round(self.seconds * self.sample_rate)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return (self.samples,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        time = self.samples // self.hop
        return (1, self.mels, time) if self.layout == "mel" else (1, time, self.n_fft // 2 + 1)

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"samples": self.samples, "sample_rate": self.sample_rate}

    def __str__(self) -> str:
        bands = f"{self.mels} bands" if self.layout == "mel" else f"{self.n_fft // 2 + 1} frequencies"
        return f"{self.seconds:g} s of sound at {self.sample_rate} Hz, {self.layout}, {bands}"
