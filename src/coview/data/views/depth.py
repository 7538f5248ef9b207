"""Depth: a map beside a picture that says how far away everything in it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.augment import video
from coview.data.augment.settings import AugmentSettings
from coview.data.hha import hha
from coview.data.tracks import read_depth
from coview.data.views.kinds import register_view
from coview.data.views.picture import PictureView
from coview.data.views.spec import Statistics
from coview.errors import MediaError
from coview.media.container import NARROW
from coview.media.cuts import Crop, Window
from coview.media.pictures import square

if TYPE_CHECKING:
    from coview.data.timeline import Timeline


@register_view
@dataclass(frozen=True, kw_only=True)
class DepthView(PictureView):
    """A map of depth in metres, from a 16-bit PNG or a .npy file; with `with_`, the same crop of it as of a picture.

    Raw: float32 (channels, 1, decode_size, decode_size), scaled and cut as the picture is, 0 where nothing is known.
    Model: float32 (channels, size, size). With `form` "hha" the channels are those of `coview.data.hha`, made of the
    whole map, so that a crop keeps the height above the ground and the angle with gravity.
    """

    stream: Literal["depth"] = "depth"  # a map of depth
    frames: int = 1  # always one
    size: int = 224  # side of the model's view in pixels
    normalise: Literal["none", "statistics", "clip"] = "clip"
    track: str = "depth"
    form: Literal["metres", "hha"] = "metres"  # or disparity, height above ground and angle with gravity
    focal: float = 0.9265  # of the camera, as a share of the map's width, for hha; NYUv2's

    dtype: ClassVar[torch.dtype] = torch.float32
    stored_dtype: ClassVar[type[np.generic]] = np.float32
    medium: ClassVar[None] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames != 1 or self.space != "rgb" or not self.track:
            raise ValueError("a depth view is one map of a track, and has no colour space")
        if not 0 < self.focal < math.inf:
            raise ValueError("focal is a length above 0, as a share of the map's width")

    @property
    def channels(self) -> int:
        """Channels of a raw and of a model view."""
        return 3 if self.form == "hha" else 1

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return self.channels, 1, self.decode_size, self.decode_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return self.channels, self.size, self.size

    @property
    def stored(self) -> dict[str, Any]:
        """See `ViewSpec.stored`."""
        return super().stored | ({"form": self.form, "focal": self.focal} if self.form == "hha" else {})

    @property
    def statistics(self) -> Statistics | None:
        """See `ViewSpec.statistics`: none to begin with, and never those of pictures."""
        if self.normalise != "statistics":
            return None
        return torch.zeros(self.channels), torch.ones(self.channels)

    def cut(self, start: float, window: Window) -> None:
        """Nothing is decoded: see `load`."""

    def load(self, recording: Timeline, path: Path | None, start: float, window: Window) -> tuple[Tensor, int]:
        """See `ViewSpec.load`; what is unknown takes no part in the mean of its neighbours."""
        assert path is not None
        depth = torch.from_numpy(read_depth(path))
        short, long = sorted(depth.shape)
        if long > NARROW * short:
            raise MediaError(str(path), "too-narrow", f"a map of {tuple(depth.shape)} is no picture")
        size = [max(self.decode_size, round(side * self.decode_size / short)) for side in depth.shape]
        if self.with_ and recording.width and not _alike(depth.shape, (recording.height, recording.width)):
            shape = f"{depth.shape[1]} x {depth.shape[0]}"
            raise MediaError(
                str(path), "other-shape", f"a map of {shape} places cannot lie over a picture of {recording.width} x "
                f"{recording.height} pixels: expected one of its proportions, at any scale",
            )  # fmt: skip
        maps = hha(depth[None], self.focal)[0] if self.form == "hha" else depth[None]
        if isinstance(window, Crop):
            left, top, right, bottom = window.pixels(depth.shape[1], depth.shape[0])
            maps, size = maps[:, top:bottom, left:right], [self.decode_size] * 2
        both = torch.cat([maps, (maps[:1] > 0).float()])[None]
        *scaled, known = interpolate(both, size=size, mode="bilinear", antialias=True)[0]
        filled = torch.where(known > 0.5, torch.stack(scaled) / known.clamp(min=0.5), 0.0)
        place = 0.5 if isinstance(window, Crop) else window  # a crop has the size already
        return square(filled.movedim(0, -1), self.decode_size, place).movedim(-1, 0)[:, None], 0

    def made_up(self, key: Tensor, stream: int) -> Tensor:
        """See `ViewSpec.made_up`; metres are above 0, known everywhere."""
        values = super().made_up(key, stream)
        return 0.5 + values.abs() if self.normalise == "none" else values

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """See `ViewSpec.prepare`: cropped, mirrored and moved as pictures are; there is no colour to change."""
        if key is None:
            maps = video.centre_crop(raw, self.size)
        else:
            maps = video.random_view(raw, self.size, key, augment, mirrorable)
        return self._normalised(maps, statistics)[:, :, 0]

    def values(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.values`: a row for every place."""
        return video.centre_crop(raw, self.size).movedim(1, -1).flatten(0, -2)

    def picture(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.picture`: what is far is light; of hha the first channel is red, each up to its largest."""
        return (raw[:, 0] / raw.amax((1, 2, 3))[:, None, None].clamp(min=1e-9)).expand(3, -1, -1)

    def film(self, raw: Tensor) -> tuple[Tensor, float]:
        """See `ViewSpec.film`."""
        return (self.picture(raw)[:, None] * 255).round().to(torch.uint8), self.fps

    def __str__(self) -> str:
        return f"a map of depth from {self.track!r}, {self.size} x {self.size} places"


def _alike(size: Sequence[int], other: Sequence[int]) -> bool:
    """Tell whether a height and width are others at some scale, to one pixel."""
    scale = max(size) / max(other)
    return all(abs(side - scale * known) <= 1 for side, known in zip(size, other, strict=True))
