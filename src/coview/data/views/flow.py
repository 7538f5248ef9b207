"""Optical flow: a clip of where everything goes until the next picture, from a film of flow beside the recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coview.data.augment import video
from coview.data.augment.settings import AugmentSettings
from coview.data.views.kinds import register_view
from coview.data.views.picture import PictureView
from coview.data.views.spec import Statistics


@register_view
@dataclass(frozen=True, kw_only=True)
class FlowView(PictureView):
    """A clip of flow, as `coview prepare --flow` stores it; with `with_`, the same moment and crop as of a film.

    Raw: uint8 (3, frames, decode_size, decode_size), red the way right, green the way down, 128 for none. Model:
    float32 (2, frames, size, size), normalised; before, 1 is `coview.media.flow.RANGE` short sides of the whole film
    per second. A mirrored clip goes the other way, and so does one that runs backward. Colours are never changed.
    """

    stream: Literal["flow"] = "flow"  # a clip of optical flow
    track: str = "flow"
    normalise: Literal["none", "statistics", "clip"] = "none"  # as it is, by the data, or each clip by its own

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space != "rgb" or not self.track:
            raise ValueError("a flow view is a clip of a track, and has no colour space")

    @property
    def channels(self) -> int:
        """Channels of a model view: right and down."""
        return 2

    @property
    def scale(self) -> None:
        """See `ViewSpec.scale`: there is none."""

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """See `ViewSpec.prepare`: cropped, mirrored and turned round as the film that it goes with."""
        flow = _flow(raw)
        if key is None:
            return self._normalised(video.centre_crop(flow, self.size), statistics)
        mirrored, back = video.mirrored(key, augment, mirrorable), video.reversed_(key, augment)
        right = torch.where(mirrored ^ back, -1.0, 1.0)
        sign = torch.stack([right, torch.where(back, -1.0, 1.0)], 1)[:, :, None, None, None]
        return self._normalised(sign * video.random_view(flow, self.size, key, augment, mirrorable), statistics)

    def values(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.values`: a row for every pixel."""
        return _flow(video.centre_crop(raw, self.size)).movedim(1, -1).flatten(0, -2)

    def __str__(self) -> str:
        return f"{self.frames} frames of flow at {self.fps:g} fps, {self.size} x {self.size} pixels"


def _flow(raw: Tensor) -> Tensor:
    """Return (B, 2, T, H, W) in -1 to 1 of raw pictures (B, 3, T, H, W)."""
    two = raw[:, :2].to(torch.float32, memory_format=torch.contiguous_format)
    return ((two - 128) / 127).clamp(min=-1)
