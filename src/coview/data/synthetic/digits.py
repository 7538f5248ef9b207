"""`digits-av`: real handwritten digits and synthetic utterances that share nothing but the class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from coview.data.synthetic.digits_picture import FPS, SIZE, pick_image, render_picture
from coview.data.synthetic.digits_sound import render_sound
from coview.data.synthetic.world import World
from coview.data.views import AudioView, VideoView, ViewSpec
from coview.errors import UsageError
from coview.randomness import integers, make_key

_CLASS = 1


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


class DigitsWorld(World):
    """Clips of one digit: 8 grey frames of 32 x 32 at 16 fps, and one second of sound.

    Training and validation share speakers, not handwriting; test has unseen handwriting AND unseen speaker ranges.
    Column "image" is the number of the handwritten image in scikit-learn's `load_digits`.

    Args:
        level: "A" (easiest), "D" or "C", or ranges of one's own.
        split: "train", "validation" or "test".
        count: clips.
        seed: another seed gives other clips.
        views: what is cut; by default the whole clip.
    """

    fps = FPS

    def __init__(
        self,
        level: str | Level = "A",
        split: str = "train",
        count: int = 5000,
        seed: int = 0,
        views: Mapping[str, ViewSpec] | None = None,
    ) -> None:
        if isinstance(level, str) and level not in LEVELS:
            raise UsageError(f"digits-av has no level {level!r}: use one of {', '.join(LEVELS)}")
        self.level = LEVELS[level] if isinstance(level, str) else level
        name = f"digits-av:{level}" if isinstance(level, str) else "digits-av:custom"
        classes = [str(c) for c in range(10)]
        super().__init__(
            name, split, count, seed, views or default_views(), classes, str(dataclasses.asdict(self.level))
        )
        keys = self.keys(torch.arange(count))
        self.labels = integers(keys, _CLASS, 10)
        self.columns = {"image": pick_image(make_key(keys, 1), self.labels, split)}

    def _render(self, key: Tensor) -> dict[str, Tensor]:
        label, picture, sound = integers(key, _CLASS, 10), make_key(key, 1), make_key(key, 2)
        image = pick_image(picture, label, self.split)
        video = render_picture(picture, image, self.level)
        audio = render_sound(sound, label, self.level, unseen=self.split == "test")
        return {"video": video, "audio": audio, "digit": label, "image": image}


def default_views() -> dict[str, ViewSpec]:
    """Return the views that cut a whole clip."""
    return {
        "video": VideoView(frames=8, fps=FPS, size=SIZE, margin=1.0, normalise="clip"),
        "audio": AudioView(seconds=1.0, mels=40, n_fft=512, window=400, hop=200, normalise="clip"),
    }
