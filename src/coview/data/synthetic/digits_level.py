"""The levels of `digits-av`: how much clips of one class differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Level:
    """Ranges of the nuisances; lengths in pixels of a 32-pixel frame, strengths in dB, times in seconds."""

    threshold: tuple[float, float]  # of the stroke: varies the ink independently of the class
    size: tuple[float, float]  # height of the digit's 8-pixel box
    contrast: tuple[float, float]
    background: tuple[float, float]  # contrast of the noise field
    segment_jitter: float  # log deviation of the four patterns' durations
    formant_jitter: float
    snr: tuple[float, float]
    equaliser: float
    segment_gain: float
    duration: tuple[float, float]
    pitch: tuple[float, float]  # Hz
    pitch_test: tuple[float, float]


LEVELS = {
    "A": Level(
        threshold=(0.30, 0.55), size=(16, 24), contrast=(0.30, 0.55), background=(0.05, 0.13), segment_jitter=0.30,
        formant_jitter=0.06, snr=(5, 20), equaliser=5, segment_gain=4, duration=(0.45, 0.85),
        pitch=(90, 200), pitch_test=(140, 260),
    ),
    "D": Level(
        threshold=(0.27, 0.58), size=(16, 24), contrast=(0.28, 0.55), background=(0.06, 0.14), segment_jitter=0.32,
        formant_jitter=0.065, snr=(4, 18), equaliser=6, segment_gain=5, duration=(0.45, 0.85),
        pitch=(90, 200), pitch_test=(140, 260),
    ),
    "C": Level(
        threshold=(0.20, 0.65), size=(15, 24), contrast=(0.20, 0.55), background=(0.07, 0.18), segment_jitter=0.45,
        formant_jitter=0.08, snr=(-1, 12), equaliser=8, segment_gain=8, duration=(0.38, 0.85),
        pitch=(90, 230), pitch_test=(130, 290),
    ),
}  # fmt: skip
