"""`digits-av`: real handwritten digits and synthetic utterances that share nothing but the class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from coview.data.synthetic.digits_level import LEVELS, Level
from coview.data.synthetic.digits_picture import FPS, SIZE, pick_image, render_picture
from coview.data.synthetic.digits_sound import render_sound
from coview.data.synthetic.world import World
from coview.data.views import AudioView, VideoView, ViewSpec
from coview.errors import UsageError
from coview.randomness import integers, make_key

_CLASS = 1


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
