"""`pushes`: an arm pushes one of four blocks; what it was told to do, and where it was, is known at every picture."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from coview.data.synthetic.pushes_scene import BLOCKS, FPS, FRAMES, SIZE, render_scene, simulate
from coview.data.synthetic.world import World
from coview.data.views import SeriesView, VideoView, ViewSpec
from coview.randomness import integers, make_key

_BLOCK = 1003  # stream, apart from the numbered ones of Draw


class PushesWorld(World):
    """Clips of one push: 10 colour frames of 32 x 32 at 10 fps, actions and states beside them, and no sound.

    Step k of "actions" is the move (y, x) that leads from picture k to picture k + 1, 1 for two pixels; step k of
    "states" is the arm's place (y, x) in picture k, -1 and 1 at the frame's borders. Actions are drawn anew at every
    step, so that the past does not tell them. `labels` are the colours of the pushed blocks; column "quarter" says in
    which quarter of the frame it lies at first.

    Args:
        split: "train", "validation" or "test": other clips of the same distribution.
        count: clips.
        seed: another seed gives other clips.
        views: what is cut; by default the whole clip.
    """

    fps, frames, samples = FPS, FRAMES, 0
    tracks = MappingProxyType({"actions": 2, "states": 2})

    def __init__(
        self, split: str = "train", count: int = 6000, seed: int = 0, views: Mapping[str, ViewSpec] | None = None
    ) -> None:
        super().__init__("pushes", split, count, seed, views or default_views(), list(BLOCKS), "")
        keys = self.keys(torch.arange(count))
        self.labels = integers(keys, _BLOCK, len(BLOCKS))
        self.columns = {"quarter": simulate(make_key(keys, 1), self.labels).quarter}

    def _render(self, key: Tensor) -> dict[str, Tensor]:
        block = integers(key, _BLOCK, len(BLOCKS))
        scene = simulate(make_key(key, 1), block)
        video = render_scene(make_key(key, 2), scene)
        states = scene.arm / (SIZE / 2)
        return {"video": video, "actions": scene.actions, "states": states, "block": block, "quarter": scene.quarter}


def default_views() -> dict[str, ViewSpec]:
    """Return the views that cut a whole clip."""
    return {
        "video": VideoView(frames=FRAMES, fps=FPS, size=SIZE, margin=1.0, normalise="none"),
        "actions": SeriesView(track="actions", dim=2, steps=FRAMES, rate=FPS, with_="video"),
        "states": SeriesView(track="states", dim=2, steps=FRAMES, rate=FPS, with_="video"),
    }
