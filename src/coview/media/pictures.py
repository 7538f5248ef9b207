"""Frames of a cut as pictures: scaled, turned upright, cut square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from coview.media.container import Media
from coview.media.cuts import VideoCut
from coview.media.frames import shown_frames, shown_together
from coview.media.upright import Upright, displayed_size


def read_frames(media: Media, cut: VideoCut) -> Tensor:
    """Decode the frames of a cut: uint8 (3, count, size, size), RGB.

    Before the first frame of the stream its first one is shown; after the last one, the last.

    Raises:
        MediaError: "no-video", "outside" (the cut begins after the last frame's end), "undecodable" or "too-large".
    """
    return read_frames_of(media, [cut])[0]


def read_frames_of(media: Media, cuts: Sequence[VideoCut]) -> list[Tensor]:
    """Decode several cuts in one pass: the same frames to the bit as `read_frames` of each, but none decoded twice.

    Raises:
        MediaError: as `read_frames`, where any of them fails.
    """
    if media.video is None:
        raise media.error("no-video", "a picture was asked for, and the file has sound only")
    scalers = {cut.size: Scaler(media, cut.size) for cut in cuts}
    times = [[t + media.origin for t in cut.times] for cut in cuts]
    shown = shown_together(media, times, lambda frame: {size: scaled(frame) for size, scaled in scalers.items()})
    found = []
    for cut, frames in zip(cuts, shown, strict=True):
        pictures = [square(frame[cut.size], cut.size, cut.window) for frame in frames]
        found.append(torch.from_numpy(np.stack(pictures)).permute(3, 0, 1, 2))
    return found


def read_whole_frames(media: Media, start: float, count: int, fps: float, size: int) -> list[NDArray[np.uint8]]:
    """Decode `count` frames at `fps` from second `start`, uncropped: uint8 (H, W, 3), RGB, short side `size`.

    Repeated frames are the same array. `square` cuts from them exactly what `read_frames` returns.

    Raises:
        MediaError: as `read_frames`.
    """
    if media.video is None:
        raise media.error("no-video", "a picture was asked for, and the file has sound only")
    return shown_frames(media, [start + media.origin + k / fps for k in range(count)], Scaler(media, size))


def square(picture: Any, size: int, window: float) -> Any:
    """Return the square of side `size` of a picture (H, W, ...), at fraction `window` of its room."""
    top = round((picture.shape[0] - size) * window)
    left = round((picture.shape[1] - size) * window)
    return picture[top : top + size, left : left + size]


class Scaler:
    """Scales frames so that their short side is `size`, and turns them upright; one scaler for all frames of a cut."""

    def __init__(self, media: Media, size: int) -> None:
        self.media, self.size = media, size
        self.reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """Return the whole picture (H, W, 3)."""
        size, upright = self.size, Upright.of(frame)
        width, height = displayed_size(self.media, frame)
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        if upright.turns % 2:
            width, height = height, width
        # BILINEAR averages when it shrinks; FAST_BILINEAR would alias.
        picture = self.reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=Interpolation.BILINEAR
        ).to_ndarray()
        return upright(np.asarray(picture, np.uint8))
