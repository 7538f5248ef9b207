"""What the two procedural worlds share: clip = f(seed, split, index), cut into views like any other recording."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from coview.data.synthetic.signals import SAMPLE_RATE, SAMPLES
from coview.data.views import AudioView, Batch, VideoView, ViewSpec
from coview.errors import UsageError
from coview.randomness import integers, make_key

SPLITS = ("train", "validation", "test")
_VERSION = 1  # changes whenever the same (seed, split, index) gives another clip
_ROWS = 8
_START = 7001  # stream of the cut's draw


class World(ABC):
    """Fixed clips of one second of sound and eight frames, made when they are read; implements `Source`.

    A clip depends on (seed, split, index) alone: it is the same in any batch, order, process and epoch. The sample's
    key decides only where a view shorter than the clip is cut.

    Attributes:
        fps: frame rate of the clips.
        columns: more labels, name -> int64 (rows,); the picture's and the sound's own are separate.
    """

    fps: float
    frames: int = 8
    columns: dict[str, Tensor]

    def __init__(
        self,
        name: str,
        split: str,
        count: int,
        seed: int,
        views: Mapping[str, ViewSpec],
        classes: list[str],
        recipe: str,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(f"world {name!r} has no split {split!r}: use one of {', '.join(SPLITS)}")
        if count < 1:
            raise UsageError(f"world {name!r} needs a count of at least 1, found {count}")
        self.name, self.split, self.seed, self.views, self.classes = name, split, seed, dict(views), classes
        for view in self.views.values():
            self._check(view)
        self.ids = [f"{split}-{index:06d}" for index in range(count)]
        text = f"{name} {_VERSION} {recipe} {split} {count} {seed}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.labels = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def _render(self, key: Tensor) -> dict[str, Tensor]:
        """Return the clips of `key` (B,) as `render` does."""

    def render(self, index: Tensor, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Return clips `index` (int64 (B,)): "video" uint8 (B, 3, 8, S, S), "audio" float32 (B, 16000), labels (B,).

        The same index gives the same bits in every batch on one device.
        """
        key = self.keys(index.to(device))
        # Fourier transforms work on several rows at once, and round the rows that are left over differently.
        filled = torch.cat([key, key[-1:].expand(-len(key) % _ROWS)])
        return {name: clips[: len(key)] for name, clips in self._render(filled).items()}

    def keys(self, index: Tensor) -> Tensor:
        """Return the int64 keys of clips, from which all of their factors are drawn."""
        return make_key(torch.tensor(self.seed), torch.tensor(SPLITS.index(self.split)), index)

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """Cut raw views; a view shorter than the clip starts where `key` says. Nothing is ever replaced."""
        return self._cut(row, key, key)

    def windows(self, count: int) -> int:
        """Return 1: a clip is as long as a view."""
        return 1

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Cut raw views from the clips' beginning."""
        return self._cut(row, torch.zeros_like(row), None)

    def _check(self, view: ViewSpec) -> None:
        if isinstance(view, VideoView):
            if view.after is not None:
                raise UsageError(
                    f"{self.name}: a clip of {self.frames / self.fps} s has no second picture {view.after} s later"
                )
            if self._frame_index(view)[-1] >= self.frames:
                raise UsageError(
                    f"{self.name}: a view of {view.frames} frames at {view.fps} fps does not fit into "
                    f"{self.frames} frames at {self.fps} fps; ask for fewer frames"
                )
        elif not isinstance(view, AudioView):
            raise UsageError(f"{self.name}: a world has pictures and sounds, and no {view.stream}")
        elif view.samples / view.sample_rate > SAMPLES / SAMPLE_RATE or view.sample_rate != SAMPLE_RATE:
            raise UsageError(
                f"{self.name}: a sound view of {view.seconds} s at {view.sample_rate} Hz does not fit into "
                f"{SAMPLES / SAMPLE_RATE} s at {SAMPLE_RATE} Hz"
            )

    def _frame_index(self, view: VideoView) -> Tensor:
        """Frame k of a view is the last frame of the clip at or before k / fps."""
        return torch.tensor([math.floor(k * self.fps / view.fps + 1e-6) for k in range(view.frames)])

    def _cut(self, row: Tensor, key: Tensor, where: Tensor | None) -> Batch:
        clips = self.render(row, row.device)
        views, start = {}, {}
        for name, view in self.views.items():
            if isinstance(view, VideoView):
                views[name], start[name] = self._cut_video(clips["video"], view, where)
            elif isinstance(view, AudioView):
                views[name], start[name] = _cut_audio(clips["audio"], view, where)
        return Batch(views=views, row=row, key=key, start=start, label=self.labels.to(row.device)[row])

    def _cut_video(self, video: Tensor, view: VideoView, where: Tensor | None) -> tuple[Tensor, Tensor]:
        index = self._frame_index(view).to(video.device)
        room = self.frames - int(index[-1])
        first = (
            torch.zeros_like(video[:, 0, 0, 0, 0], dtype=torch.int64)
            if where is None
            else integers(where, _START, room)
        )
        pick = (first[:, None] + index)[:, None, :, None, None].expand(-1, 3, -1, *video.shape[-2:])
        cut = video.gather(2, pick)
        if view.decode_size != cut.shape[-1]:
            size = (view.decode_size, view.decode_size)
            scaled = functional.interpolate(cut.flatten(1, 2), size=size, mode="bilinear", antialias=True)
            cut = scaled.reshape(*cut.shape[:3], *size)
        return cut, first.double() / self.fps


def _cut_audio(audio: Tensor, view: AudioView, where: Tensor | None) -> tuple[Tensor, Tensor]:
    room = SAMPLES - view.samples + 1
    first = torch.zeros(audio.shape[0], dtype=torch.int64, device=audio.device)
    if where is not None:
        first = integers(where, _START + 1, room)
    pick = first[:, None] + torch.arange(view.samples, device=audio.device)
    return audio.gather(1, pick), first.double() / SAMPLE_RATE
