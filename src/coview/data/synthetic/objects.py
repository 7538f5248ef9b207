"""`objects-av`: shapes that move and things that ring, sharing exactly the factors that a knob names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from coview.data.synthetic.objects_difficulty import Difficulty
from coview.data.synthetic.objects_picture import ACTIONS, FPS, OBJECTS, SIZE, Scene, render_picture
from coview.data.synthetic.objects_sound import render_sound
from coview.data.synthetic.signals import Draw
from coview.data.synthetic.world import World
from coview.data.views import AudioView, VideoView, ViewSpec
from coview.errors import UsageError
from coview.randomness import integers, make_key

SHARED = ("object", "action", "size", "timing")
_OBJECT, _ACTION = 1001, 1002  # streams, apart from the numbered ones of Draw


class ObjectsWorld(World):
    """Clips of one moving object: 8 colour frames of 48 x 48 at 8 fps, and one second of sound.

    Picture and sound each draw all factors for themselves; the sound copies those named in `shared` from the picture.
    So the same seed gives the same pictures whatever is shared. `labels` are the picture's objects; columns
    "picture_object", "picture_action", "sound_object", "sound_action" hold both sides.

    Args:
        shared: any of "object", "action", "size", "timing".
        split: "train", "validation" or "test": other clips of the same distribution.
        count: clips.
        seed: another seed gives other clips.
        views: what is cut; by default the whole clip.
        difficulty: ranges of the nuisances.
    """

    fps = FPS

    def __init__(
        self,
        shared: tuple[str, ...] = ("object",),
        split: str = "train",
        count: int = 6000,
        seed: int = 0,
        views: Mapping[str, ViewSpec] | None = None,
        difficulty: Difficulty | None = None,
    ) -> None:
        unknown = [factor for factor in shared if factor not in SHARED]
        if unknown or len(set(shared)) != len(shared):
            raise UsageError(
                f"objects-av cannot share {'+'.join(shared)!r}: name any of {', '.join(SHARED)}, each once"
            )
        self.shared, self.difficulty = tuple(f for f in SHARED if f in shared), difficulty or Difficulty()
        name = f"objects-av:{'+'.join(self.shared)}"
        recipe = str(dataclasses.asdict(self.difficulty))
        super().__init__(name, split, count, seed, views or default_views(), list(OBJECTS), recipe)
        picture, sound = self._scenes(self.keys(torch.arange(count)))
        self.labels = picture.object
        self.columns = _columns(picture, sound)

    def _render(self, key: Tensor) -> dict[str, Tensor]:
        picture, sound = self._scenes(key)
        video = render_picture(make_key(key, 1), picture, self.difficulty)
        return {
            "video": video,
            "audio": render_sound(make_key(key, 2), sound, self.difficulty),
            **_columns(picture, sound),
        }

    def _scenes(self, key: Tensor) -> tuple[Scene, Scene]:
        """The picture's factors, and the sound's: its own, but for the shared ones."""
        picture, own = _scene(make_key(key, 1)), _scene(make_key(key, 2))
        return picture, dataclasses.replace(own, **{factor: getattr(picture, factor) for factor in self.shared})


def _scene(key: Tensor) -> Scene:
    draw = Draw(make_key(key, 3))
    # Diameter 35 to 60 % of the frame.
    size, timing = draw.log_uniform(0.175 * SIZE, 0.30 * SIZE), draw.uniform(0, 1)
    return Scene(integers(key, _OBJECT, len(OBJECTS)), integers(key, _ACTION, len(ACTIONS)), size, timing)


def _columns(picture: Scene, sound: Scene) -> dict[str, Tensor]:
    return {
        "picture_object": picture.object,
        "picture_action": picture.action,
        "sound_object": sound.object,
        "sound_action": sound.action,
    }


def default_views() -> dict[str, ViewSpec]:
    """Return the views that cut a whole clip."""
    return {
        "video": VideoView(frames=8, fps=FPS, size=SIZE, margin=1.0, normalise="clip"),
        "audio": AudioView(seconds=1.0, mels=64, n_fft=1024, window=512, hop=250, normalise="clip"),
    }
