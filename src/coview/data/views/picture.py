"""Pictures: a clip of frames, or one frame or still."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class VideoView:
    """A short clip of frames.

    Raw: uint8 (3, frames, decode_size, decode_size), a square window of the frame whose short side was scaled to
    `decode_size`. Model: float32 (3, frames, size, size), normalised.
    """

    stream: Literal["video"] = "video"
    frames: int = 8
    fps: float = 16.0
    size: int = 112
    margin: float = 1.15  # decoded side / model side: room for crops
    after: tuple[float, float] | None = None  # seconds after the sample's first picture clip, drawn uniformly
    # Per channel: by ImageNet's statistics or by the data's own; or each clip by its own mean and deviation.
    normalise: Literal["imagenet", "statistics", "clip"] = "imagenet"
    area: tuple[float, float] | None = None  # share of the frame that a random crop takes; None: the augmentation's
    of: str | None = None  # another crop of this view, which is cut and decoded once for both

    def __post_init__(self) -> None:
        if self.frames < 1 or self.fps <= 0 or self.size < 8 or self.margin < 1:
            raise ValueError("a video view needs frames >= 1, fps > 0, size >= 8 and margin >= 1")
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError("area is a share of the frame: 0 < low <= high <= 1")

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.fps

    @property
    def decode_size(self) -> int:
        """Side in pixels of the square that the decoder delivers; even."""
        return 2 * round(self.size * self.margin / 2)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return 3, self.frames, self.decode_size, self.decode_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return 3, self.frames, self.size, self.size

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"frames": self.frames, "fps": self.fps, "decode_size": self.decode_size, "after": self.after}

    def __str__(self) -> str:
        return f"{self.frames} frames at {self.fps:g} fps, {self.size} x {self.size} pixels"


@dataclass(frozen=True, kw_only=True)
class ImageView(VideoView):
    """One picture: a frame of a recording, or a still.

    Raw: uint8 (3, 1, decode_size, decode_size). Model: float32 (3, size, size), normalised.
    """

    stream: Literal["image"] = "image"  # type: ignore[assignment]
    frames: int = 1
    size: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames != 1:
            raise ValueError("an image view has one frame; a video view has more")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return 3, self.size, self.size

    def __str__(self) -> str:
        return f"one picture, {self.size} x {self.size} pixels"
