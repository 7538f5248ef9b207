"""Frames of a cut as pictures: scaled, turned upright, cut square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from coview.media.container import Media
from coview.media.cuts import Crop, VideoCut, Window
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
    scalers: dict[int, Scaler] = {}  # by the short side

    def scaled(frame: Any) -> dict[int, NDArray[np.uint8]]:
        sides = {cut: short_side(cut, *displayed_size(media, frame)) for cut in cuts}
        for side in sides.values():
            if side not in scalers:
                scalers[side] = Scaler(media, side)
        made = {side: scalers[side](frame) for side in set(sides.values())}
        return {number: made[sides[cut]] for number, cut in enumerate(cuts)}

    shown = shown_together(media, [[t + media.origin for t in cut.times] for cut in cuts], scaled)
    found = []
    for number, (cut, frames) in enumerate(zip(cuts, shown, strict=True)):
        pictures = [seen(frame[number], cut.size, cut.window) for frame in frames]
        found.append(torch.from_numpy(np.stack(pictures)).permute(3, 0, 1, 2))
    return found


def short_side(cut: VideoCut, width: int, height: int) -> int:
    """Return the short side that frames of a film are scaled to before a cut is made of them.

    A crop is made of the frame as it is, or of a half, a quarter, ... of it, the smallest in which it need not be
    enlarged: crops of one film share them.
    """
    if not isinstance(cut.window, Crop):
        return cut.size
    least, side = cut.window.short(width, height, cut.size), min(width, height)
    while side // 2 >= least:
        side //= 2
    return side


def seen(picture: NDArray[np.uint8], size: int, window: Window) -> NDArray[np.uint8]:
    """Return the part of a picture (H, W, 3) that a cut shows: (size, size, 3); a crop's edges lie between pixels."""
    if not isinstance(window, Crop):
        return cast("NDArray[np.uint8]", square(picture, size, window))
    height, width = picture.shape[:2]
    left, top, right, bottom = window.pixels(width, height)
    part = torch.from_numpy(picture[top:bottom, left:right]).permute(2, 0, 1)
    # Its window grows as it shrinks: an average. Torch's takes a third of Pillow's time.
    made = interpolate(part[None], (size, size), mode="bilinear", antialias=True)[0]
    return made.permute(1, 2, 0).numpy()


def read_whole_frames(
    media: Media, start: float, numbers: Sequence[int], fps: float, size: int
) -> list[NDArray[np.uint8]]:
    """Decode frames at `fps`, number 0 at second `start`, uncropped: uint8 (H, W, 3), RGB, short side `size`.

    Repeated frames are the same array. `square` cuts from them exactly what `read_frames` returns.

    Raises:
        MediaError: as `read_frames`.
    """
    if media.video is None:
        raise media.error("no-video", "a picture was asked for, and the file has sound only")
    return shown_frames(media, [start + media.origin + k / fps for k in numbers], Scaler(media, size))


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
