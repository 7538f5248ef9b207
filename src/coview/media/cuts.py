"""What is asked of a decoder: a cut of picture, a cut of sound; and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

# Two timestamps closer than this are the same instant: below the tick of every common time base.
SAME_INSTANT = 1e-6


class Crop(NamedTuple):
    """A part of a frame, drawn before its size is known.

    Attributes:
        shapes: share of the frame's area (0 to 1) and width / height in pixels; the first one that fits is taken, and
            where none does the last, cut to the frame.
        x, y: share of the room it has from the left and from the top, 0 to 1.
    """

    shapes: tuple[tuple[float, float], ...]
    x: float
    y: float

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom in pixels of a frame."""
        sides = [
            ((area * ratio * width * height) ** 0.5, (area / ratio * width * height) ** 0.5)
            for area, ratio in self.shapes
        ]
        wide, high = next((side for side in sides if side[0] <= width and side[1] <= height), sides[-1])
        wide, high = min(wide, width), min(high, height)
        left, top = (width - wide) * self.x, (height - high) * self.y
        return left, top, left + wide, top + high

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return `box` in whole pixels, of which there is one at least each way."""
        left, top, right, bottom = (round(edge) for edge in self.box(width, height))
        left, top = min(left, width - 1), min(top, height - 1)
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def short(self, width: int, height: int, size: int) -> float:
        """Return the short side of a frame in which the shorter side of the crop has `size` pixels."""
        left, top, right, bottom = self.box(width, height)
        return size * max(1.0, min(width, height) / min(right - left, bottom - top))


# Which part of a frame is seen: along its long side the square at this fraction, 0 (left or top) to 1; or a crop.
Window = float | Crop


@dataclass(frozen=True, kw_only=True)
class VideoCut:
    """Frames to read.

    Attributes:
        start: seconds on the recording's clock (see `coview.media.container`).
        count, fps: frame k is the one being shown at start + k / fps, the last with a timestamp at or before it.
        size: the short side is scaled to this many pixels, and a square of this side is kept; a crop is made such a
            square, from a frame no smaller than it needs.
        window: where along the long side the square sits, 0 (left or top) to 1, or the crop.
    """

    start: float
    count: int
    fps: float
    size: int
    window: Window = 0.5

    def __post_init__(self) -> None:
        outside = not isinstance(self.window, Crop) and not 0 <= self.window <= 1
        if self.count < 1 or self.fps <= 0 or self.size < 1 or outside or self.start < 0:
            raise ValueError(f"a video cut needs start >= 0, count >= 1, fps > 0, size >= 1, window in 0..1: {self}")

    @property
    def times(self) -> list[float]:
        """Instants of the frames in seconds of the recording's clock."""
        return [self.start + k / self.fps for k in range(self.count)]


@dataclass(frozen=True, kw_only=True)
class AudioCut:
    """Sound to read: `seconds` from `start` on the recording's clock, resampled to `sample_rate` Hz."""

    start: float
    seconds: float
    sample_rate: int

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.sample_rate < 1 or self.start < 0:
            raise ValueError(f"an audio cut needs start >= 0, seconds > 0 and sample_rate >= 1: {self}")

    @property
    def samples(self) -> int:
        """Length of the waveform that is returned."""
        return round(self.seconds * self.sample_rate)


class Sound(NamedTuple):
    """A waveform, float32 (samples,), and how many of its samples the file really holds; the others are zero."""

    waveform: Tensor
    valid: int


class Clip(NamedTuple):
    """What one sample cuts from one file: frames uint8 (3, T, size, size) and a waveform float32 (samples,)."""

    video: Tensor | None
    audio: Tensor | None


class Excerpt(NamedTuple):
    """A piece of a recording for people: frames uint8 (3, T, S, S) at `fps`, and a waveform float32 at `rate` Hz.

    What a recording lacks is None. `seconds` are shown of the `whole` recording; a still picture has 0 of both.
    `whole` is None where the piece is not the recording itself but what a model is given of it.
    """

    frames: Tensor | None
    fps: float | None
    waveform: Tensor | None
    rate: int | None
    seconds: float
    whole: float | None
