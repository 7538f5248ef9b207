"""Clips that a procedural world makes: what they are like, and which of their pictures a view takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from coview.randomness import integers

_CUT = 7001  # stream of a key that places a view in a world's clip


class Made(NamedTuple):
    """What clips that a procedural world makes are like: length and rate of their pictures and of their sound.

    Attributes:
        samples: 0 where they have no sound.
        tracks: what lies beside them at the pictures' rate: name -> numbers at a step.
    """

    frames: int
    fps: float
    samples: int
    sample_rate: int
    tracks: Mapping[str, int] = MappingProxyType({})

    def places(self, count: int, rate: float) -> list[int]:
        """Return which pictures a view of `count` steps at `rate` takes, from 0 on: the last at or before k / rate."""
        return [math.floor(k * self.fps / rate + 1e-6) for k in range(count)]

    def picked(self, places: list[int], where: Tensor | None, like: Tensor) -> Tensor:
        """Return int64 (B, steps): `places` from where keys (B,) say, or from 0 on, for clips `like` (B, ...)."""
        first = torch.zeros(len(like), dtype=torch.int64, device=like.device)
        if where is not None:
            first = integers(where, _CUT, self.frames - places[-1])
        return first[:, None] + torch.tensor(places, device=like.device)
