"""What the procedural worlds share: clip = f(seed, split, index), cut into views like any other recording."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from coview.data.synthetic.signals import SAMPLE_RATE, SAMPLES
from coview.data.views import Batch, ViewSpec, check_views
from coview.data.views.made import Made
from coview.errors import UsageError
from coview.media.cuts import Excerpt
from coview.randomness import make_key

SPLITS = ("train", "validation", "test")
_VERSION = 1  # changes whenever the same (seed, split, index) gives another clip
_ROWS = 8


class World(ABC):
    """Fixed clips of a second at most, made when they are read; implements `Source`.

    A clip depends on (seed, split, index) alone: it is the same in any batch, order, process and epoch. The sample's
    key decides only where a view shorter than the clip is cut.

    Attributes:
        fps, frames: rate and number of the clips' pictures.
        samples: of their sound; 0 for none.
        tracks: what lies beside them at the pictures' rate: name -> numbers at a step.
        columns: more labels, name -> int64 (rows,); the picture's and the sound's own are separate.
    """

    fps: float
    frames: int = 8
    samples: int = SAMPLES
    tracks: Mapping[str, int] = MappingProxyType({})
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
        check_views(self.views)
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
        """Return clips `index` (int64 (B,)): "video" uint8 (B, 3, T, S, S), labels (B,), and as far as there is any
        "audio" float32 (B, samples), and `tracks` float32 (B, T, numbers).

        The same index gives the same clip in every batch: to the bit in one of the same size on as many threads of one
        machine, else within rounding (a unit of 8 or 16 bits in few values).
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

    def excerpt(self, row: int, seconds: float, side: int) -> Excerpt:
        """Return a whole clip for people, at its own size: it is short and small."""
        clip = self._render(self.keys(torch.tensor([row])))
        sound, rate = (clip["audio"][0], SAMPLE_RATE) if self.samples else (None, None)
        whole = max(self.frames / self.fps, self.samples / SAMPLE_RATE)
        return Excerpt(clip["video"][0], self.fps, sound, rate, whole, whole)

    @property
    def _made(self) -> Made:
        return Made(self.frames, self.fps, self.samples, SAMPLE_RATE, self.tracks)

    def _check(self, view: ViewSpec) -> None:
        reason = view.misfit(self._made)
        if reason:
            raise UsageError(f"{self.name}: {reason}")

    def _cut(self, row: Tensor, key: Tensor, where: Tensor | None) -> Batch:
        clips = self.render(row, row.device)
        cuts = {name: view.from_clips(clips, self._made, where) for name, view in self.views.items()}
        return Batch(
            views={name: raw for name, (raw, _) in cuts.items()},
            row=row,
            key=key,
            start={name: start for name, (_, start) in cuts.items()},
            label=self.labels.to(row.device)[row],
        )
