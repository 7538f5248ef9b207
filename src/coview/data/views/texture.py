"""Sound as a texture: statistics of a stretch of sound, in which no moment has a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.views.kinds import register_view
from coview.data.views.sound import SoundView
from coview.data.views.spec import Statistics
from coview.media.cochlea import envelopes
from coview.media.probe import SILENT_PEAK
from coview.media.textures import sizes, texture


@register_view
@dataclass(frozen=True, kw_only=True)
class TextureView(SoundView):
    """What a stretch of sound is like on the whole, see `coview.media.textures`; never augmented.

    Raw: float32 waveform (samples,), full scale 1. Model: float32 (statistics,), 502 of them where the sound is longer
    than a second; the last is the loudness, and all are 0 of a sound that never exceeds `SILENT_PEAK`.
    """

    stream: Literal["texture"] = "texture"  # statistics of a stretch of sound
    seconds: float = 3.75  # length of the stretch
    sample_rate: int = 20000  # Hz
    floor: float = 1e-4  # added to variances, of envelopes of loudness 1: keeps nearly empty bands quiet
    track: str | None = None  # a further file of the recording with sound; None: the recording's own

    def __post_init__(self) -> None:
        if self.seconds < 0.1 or self.sample_rate <= 800 or self.floor < 0:
            raise ValueError("a texture view needs seconds >= 0.1, sample_rate > 800 and floor >= 0")

    @property
    def groups(self) -> dict[str, int]:
        """Names of the groups of statistics, in their order, and how many there are of each."""
        return sizes(self.samples / self.sample_rate)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return (sum(self.groups.values()),)

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """See `ViewSpec.prepare`."""
        heard = raw.abs().amax(1, keepdim=True) >= SILENT_PEAK
        return torch.cat(list(texture(raw * heard, self.sample_rate, self.floor).values()), 1)

    def made_up(self, key: Tensor, stream: int) -> Tensor:
        """See `ViewSpec.made_up`: of sounds that are heard."""
        return super().made_up(key, stream).abs()

    def picture(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.picture`: the envelopes over time, low bands at the bottom."""
        image = envelopes(raw[None].float(), self.sample_rate)
        low, high = image.min(), image.max()
        return ((image - low) / (high - low).clamp(min=1e-9)).flip(1).expand(3, -1, -1)

    def __str__(self) -> str:
        return f"{self.seconds:g} s of sound at {self.sample_rate} Hz as {self.shape[0]} statistics"
