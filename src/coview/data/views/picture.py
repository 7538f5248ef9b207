"""Pictures: a clip of frames, or (`image.py`) one; in colour, in a part of their colour, or (`depth.py`) as depth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.augment import video
from coview.data.augment.settings import AugmentSettings, with_changes
from coview.data.views.kinds import register_view
from coview.data.views.made import Made
from coview.data.views.spec import Span, Statistics, ViewSpec, shared
from coview.media.cuts import Crop, VideoCut, Window
from coview.objectives.colour import split

if TYPE_CHECKING:
    from coview.data.timeline import Timelines

_TRIES = 10  # shapes drawn for a crop, of which the first that fits the frame is taken
_CHANNELS = {"rgb": 3, "lightness": 1, "colour": 2, "intensity": 1}


@dataclass(frozen=True, kw_only=True)
class PictureView(ViewSpec):
    """Frames of a recording or of a file beside it.

    Raw: uint8 (3, frames, decode_size, decode_size), a square window of the frame whose short side was scaled to
    `decode_size`. Model: float32 (channels, frames, size, size), normalised; without the frames for one picture. Random
    crops of files are cut from the frame itself where that square is too small for them (`crops`).
    """

    frames: int = 8  # pictures in a clip
    fps: float = 16.0  # pictures per second, whatever the file has
    size: int = 112  # side of the model's view in pixels
    margin: float = 1.15  # decoded side / model side: room for crops
    after: tuple[float, float] | None = None  # seconds after the sample's first picture clip, drawn uniformly
    # Per channel: by ImageNet's statistics (of rgb alone), by the data's own, each clip by its own mean and deviation,
    # or not at all: rgb in 0 to 1, lightness and colour in -1 to 1, intensity less 0.4488.
    normalise: Literal["imagenet", "statistics", "clip", "none"] = "imagenet"
    area: tuple[float, float] | None = None  # share of the frame that a random crop takes; None: the augmentation's
    of: str | None = None  # another crop of this view, which is cut and decoded once for both
    with_: str | None = None  # this view's moment, crop and look, such as the lightness and the colour of one crop
    # All of the colour; L of CIELAB; its a and b; or the mean of red, green and blue.
    space: Literal["rgb", "lightness", "colour", "intensity"] = "rgb"
    track: str | None = None  # a further film or picture of the recording; None: the recording's own
    augment: dict[str, float] = field(default_factory=dict, hash=False)  # the run's, changed: {"jitter": 0}

    dtype: ClassVar[torch.dtype] = torch.uint8
    stored_dtype: ClassVar[type[np.generic]] = np.uint8
    medium: ClassVar[Literal["picture", "sound"] | None] = "picture"

    def __post_init__(self) -> None:
        if self.frames < 1 or self.fps <= 0 or self.size < 8 or self.margin < 1:
            raise ValueError("a view of pictures needs frames >= 1, fps > 0, size >= 8 and margin >= 1")
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError("area is a share of the frame: 0 < low <= high <= 1")
        if self.with_ and (self.after or self.area):
            raise ValueError("a view with another's crop and moment has no area and no after of its own")
        with_changes(AugmentSettings(), self.augment)

    @property
    def channels(self) -> int:
        """Channels of a model view."""
        return _CHANNELS[self.space]

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.fps

    @property
    def decode_size(self) -> int:
        """Side in pixels of the square that the decoder delivers; even, and no less than the model's."""
        return max(2 * round(self.size * self.margin / 2), self.size + self.size % 2)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return 3, self.frames, self.decode_size, self.decode_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return self.channels, self.frames, self.size, self.size

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        track = {"track": self.track} if self.track else {}
        return {"frames": self.frames, "fps": self.fps, "decode_size": self.decode_size, "after": self.after} | track

    @property
    def square(self) -> tuple[int, int]:
        """Decoded and model side in pixels."""
        return self.decode_size, self.size

    def has(self, recordings: Timelines) -> NDArray[np.bool_]:
        """See `ViewSpec.has`: a still has views of one picture, and none of a later one."""
        if self.track:
            return recordings.has_track(self.track)
        one = self.frames == 1 and not self.after
        return recordings.has_video & (one | ~recordings.still)

    def short(self, recordings: Timelines) -> NDArray[np.bool_]:
        """See `ViewSpec.short`; half a frame does not count."""
        begin, end = recordings.span(self.medium)
        return self.has(recordings) & ~recordings.still & (end - begin < self.seconds - 0.5 / self.fps)

    def small(self, recordings: Timelines) -> NDArray[np.bool_]:
        """See `ViewSpec.small`; of what is made of another view's pixels, and of further files, nothing is said."""
        side = 0 if self.track or self.with_ or self.of else self.size
        return (recordings.short_side > 0) & (recordings.short_side < side)

    def window_start(self, span: Span, share: float) -> float:
        """See `ViewSpec.window_start`: at a frame of the view's rate."""
        room = max(0.0, span[1] - span[0] - self.seconds)
        return span[0] + math.floor(room * self.fps * share + 1e-6) / self.fps

    def crops(self, key: Tensor, augment: AugmentSettings) -> list[Crop] | None:
        """See `ViewSpec.crops`: ten shapes are tried, as in Inception-style training (and torchvision).

        None too where the smallest has `size` pixels in the decoded square: it is made of that, at a fixed scale.
        """
        if augment.crop_area is None:
            return None
        low, high = augment.crop_ratio
        if self.decode_size * math.sqrt(augment.crop_area[0] * min(low, 1 / high)) > self.size - 0.5:
            return None
        areas, ratios = (
            each.tolist() for each in video.draw_shapes(key, augment.crop_area, augment.crop_ratio, _TRIES)
        )
        places = video.draw_places(key).tolist()
        return [
            Crop(tuple(zip(area, ratio, strict=True)), *place)
            for area, ratio, place in zip(areas, ratios, places, strict=True)
        ]

    @property
    def cropped(self) -> PictureView:
        """See `ViewSpec.cropped`."""
        return dataclasses.replace(self, margin=1.0, of=None)

    def cut(self, start: float, window: Window) -> VideoCut | None:
        """See `ViewSpec.cut`."""
        return VideoCut(start=start, count=self.frames, fps=self.fps, size=self.decode_size, window=window)

    def room(self, count: int) -> Tensor:
        """See `ViewSpec.room`; pictures lie in memory as they are decoded, channels last."""
        channels, *rest = self.raw_shape
        return shared(torch.empty(count, *rest, channels, dtype=self.dtype)).permute(0, 4, 1, 2, 3)

    def misfit(self, made: Made) -> str | None:
        """See `ViewSpec.misfit`."""
        if self.after is not None:
            return f"a clip of {made.frames / made.fps} s has no second picture {self.after} s later"
        if self.track:
            return f"a world has no file {self.track!r} beside its clips"
        if made.places(self.frames, self.fps)[-1] >= made.frames:
            return (
                f"a view of {self.frames} frames at {self.fps} fps does not fit into {made.frames} frames at "
                f"{made.fps} fps; ask for fewer frames"
            )
        return None

    def from_clips(self, clips: Mapping[str, Tensor], made: Made, where: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `ViewSpec.from_clips`; frame k of a view is the last frame of the clip at or before k / fps."""
        film = clips["video"]
        picked = made.picked(made.places(self.frames, self.fps), where, film)
        cut = film.gather(2, picked[:, None, :, None, None].expand(-1, 3, -1, *film.shape[-2:]))
        if self.decode_size != cut.shape[-1]:
            size = (self.decode_size, self.decode_size)
            scaled = interpolate(cut.flatten(1, 2), size=size, mode="bilinear", antialias=True)
            cut = scaled.reshape(*cut.shape[:3], *size)
        return cut, picked[:, 0].double() / made.fps

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """See `ViewSpec.prepare`."""
        # Decoders write channels last; what is computed must not depend on how a source lays out its memory.
        clips = raw.to(torch.float32, memory_format=torch.contiguous_format) / 255
        if key is None:
            return self._normalised(split(video.centre_crop(clips, self.size), self.space), statistics)
        clips = video.random_view(clips, self.size, key, augment, mirrorable)
        clips = video.blur(video.grey(video.jitter_colours(clips, key, augment), key, augment), key, augment)
        return video.disturb(self._normalised(split(clips, self.space), statistics), key, augment)

    def _normalised(self, clips: Tensor, statistics: Statistics | None) -> Tensor:
        if statistics is not None:
            mean, std = (values[:, None, None, None] for values in statistics)
            return (clips - mean) / std
        if self.normalise == "none" or (self.normalise == "imagenet" and self.space != "rgb"):
            return clips
        return video.normalise(clips, self.normalise)

    def seen(self, pictures: Tensor, statistics: Statistics | None) -> Tensor:
        """Return pictures (B, 3, H, W), sRGB in [0, 1], of any size as model views of one picture are: (B, C, H, W)."""
        return self._normalised(split(pictures[:, :, None], self.space), statistics)[:, :, 0]

    def unseen(self, values: Tensor, pictures: Tensor, statistics: Statistics | None) -> Tensor:
        """Return the pictures that `seen` makes `values` of, both (B, 3, H, W), of a view in rgb.

        What is normalised clip by clip gets the mean and the deviation of `pictures`.
        """
        if statistics is not None:
            mean, std = (each[:, None, None] for each in statistics)
        elif self.normalise == "none":
            return values
        else:
            mean, std = video.scale(pictures, self.normalise)
        return values * std + mean

    @property
    def statistics(self) -> Statistics | None:
        """See `ViewSpec.statistics`: ImageNet's, until the data's own are known."""
        if self.normalise != "statistics":
            return None
        if self.space != "rgb" or self.channels != 3:
            return torch.zeros(self.channels), torch.ones(self.channels)
        return torch.tensor(video.IMAGENET_MEAN), torch.tensor(video.IMAGENET_STD)

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """See `ViewSpec.scale`; what follows from the data or from each clip is no such scale."""
        if self.space != "rgb" or self.normalise not in ("imagenet", "none"):
            return None
        return (video.IMAGENET_MEAN, video.IMAGENET_STD) if self.normalise == "imagenet" else ((0.0,) * 3, (1.0,) * 3)

    def values(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.values`: a row for every pixel."""
        return split(video.centre_crop(raw.float() / 255, self.size), self.space).movedim(1, -1).flatten(0, -2)

    def changed(self, augment: AugmentSettings) -> AugmentSettings:
        """See `ViewSpec.changed`."""
        own = with_changes(augment, self.augment)
        return own if self.area is None else dataclasses.replace(own, crop_area=self.area)

    def film(self, raw: Tensor) -> tuple[Tensor, float]:
        """See `ViewSpec.film`."""
        return raw, self.fps

    def picture(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.picture`: the middle frame."""
        return raw[:, raw.shape[1] // 2].float() / 255

    def strip(self, value: Tensor) -> Tensor:
        """See `ViewSpec.strip`: frames beside each other; channels that are not red, green and blue below."""
        clip = value[:, None] if value.ndim == 3 else value
        frames = torch.cat(list(clip.unbind(1)), dim=2)
        return frames if self.channels == 3 else torch.cat(list(frames), dim=0).expand(3, -1, -1)

    def unlike(self, prepared: Mapping[str, Any]) -> list[str]:
        """See `ViewSpec.unlike`."""
        problems = super().unlike(prepared)
        if self.frames > 1 and self.fps > prepared["fps"]:
            problems.append(f"pictures are stored at {prepared['fps']:g} per second, {self.fps:g} are wanted")
        if self.decode_size != prepared["size"]:
            problems.append(
                f"pictures are stored with short side {prepared['size']}, {self.decode_size} is wanted "
                f"(size {self.size} x margin {self.margin:g})"
            )
        return problems

    def __str__(self) -> str:
        part = "" if self.space == "rgb" else f", {self.space}"
        return f"{self.frames} frames at {self.fps:g} fps, {self.size} x {self.size} pixels{part}"


@register_view
@dataclass(frozen=True, kw_only=True)
class VideoView(PictureView):
    """A short clip of frames; see `PictureView`."""

    stream: Literal["video"] = "video"  # a clip of frames
