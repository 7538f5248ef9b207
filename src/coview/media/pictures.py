"""Frames of a cut, by PyAV: decode what the wanted frames need and nothing more."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from coview.media.container import MAX_SECONDS, Media, seek_back
from coview.media.cuts import SAME_INSTANT, VideoCut

# Reordered frames are decoded before the stream's first is shown, by less than this.
_RUN_UP_SECONDS = 1.0

# Cuts further apart than this are sought one by one: the packets between them would only fill memory.
_FAR_SECONDS = 10.0

# Codecs whose non-reference frames can be left out without changing any other frame by a bit (tested).
_SKIPPABLE = {"h264", "hevc"}


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
    scalers = {cut.size: _Scaler(media, cut.size) for cut in cuts}
    times = [[t + media.origin for t in cut.times] for cut in cuts]
    shown = _shown_together(media, times, lambda frame: {size: scaled(frame) for size, scaled in scalers.items()})
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
    return shown_frames(media, [start + media.origin + k / fps for k in range(count)], _Scaler(media, size))


def square(picture: Any, size: int, window: float) -> Any:
    """Return the square of side `size` of a picture (H, W, ...), at fraction `window` of its room."""
    top = round((picture.shape[0] - size) * window)
    left = round((picture.shape[1] - size) * window)
    return picture[top : top + size, left : left + size]


def shown_frames(media: Media, times: list[float], convert: Callable[[Any], Any] = lambda frame: frame) -> list[Any]:
    """Return the frame shown at each of the stream seconds `times`; repeated frames are the same object.

    `convert` is applied to each as soon as it is decoded, so that many small pictures of large frames fit in memory.
    """
    return _shown_together(media, [times], convert)[0]


def _shown_together(media: Media, cuts: list[list[float]], convert: Callable[[Any], Any]) -> list[list[Any]]:
    """Return the frames shown at the stream seconds of every cut; see `shown_frames`."""
    found: dict[int, list[Any]] = {}
    near: list[int] = []
    for number in sorted(range(len(cuts)), key=lambda number: cuts[number][0]):
        if near and cuts[number][0] > max(cuts[other][-1] for other in near) + _FAR_SECONDS:
            found |= zip(near, _in_one_pass(media, [cuts[other] for other in near], convert), strict=True)
            near = []
        near.append(number)
    found |= zip(near, _in_one_pass(media, [cuts[other] for other in near], convert), strict=True)
    return [found[number] for number in range(len(cuts))]


def _in_one_pass(media: Media, cuts: list[list[float]], convert: Callable[[Any], Any]) -> list[list[Any]]:
    """Return the frames of cuts in the order of their beginnings; packets are read once.

    Each cut is decoded from its own last key frame, as if it were alone; those that share one are decoded together.
    """
    try:
        packets, ended = _packets(media, cuts[0][0], max(times[-1] for times in cuts))
        if any(p.pts is None for p in packets):
            if len(cuts) > 1:
                return [_in_one_pass(media, [times], convert)[0] for times in cuts]
            return [_by_decoding_all(media, cuts[0], convert)]
        wanted: list[list[int]] = []
        runs: dict[int, list[int]] = {}  # where decoding begins -> the cuts decoded from there
        end = 0
        for number, times in enumerate(cuts):
            first, last = _part(media, packets, times)
            _check_inside(media, packets[first:last], times[0], ended and last == len(packets))
            wanted.append(_shown(sorted(p.pts for p in packets[first:last]), [_ticks(t, media.video) for t in times]))
            runs.setdefault(first, []).append(number)
            end = max(end, last)
        shown: list[list[Any]] = [[] for _ in cuts]
        for first, numbers in runs.items():
            stamps = {stamp for number in numbers for stamp in wanted[number]}
            found = _decode(media, packets[first:end], stamps, media.video.codec_context.name in _SKIPPABLE, convert)
            for number in numbers:
                if all(stamp in found for stamp in wanted[number]):
                    shown[number] = [found[stamp] for stamp in wanted[number]]
        # Timestamps that the decoder changes: decode everything and go by the frames' own.
        return [frames or _by_decoding_all(media, times, convert) for frames, times in zip(shown, cuts, strict=True)]
    except av.error.FFmpegError as error:
        raise media.error("undecodable", f"picture near {cuts[0][0] - media.origin:.3f} s: {error}") from error


def _part(media: Media, packets: list[Any], times: list[float]) -> tuple[int, int]:
    """Return the part of the packets that a cut needs: from its last key frame to the last one that may be shown."""
    earliest, limit = _ticks(times[0], media.video), _ticks(times[-1], media.video)
    first = max((i for i, p in enumerate(packets) if p.is_keyframe and p.pts <= earliest), default=0)
    late = (i for i in range(first + 1, len(packets)) if _stamp(packets[i]) > limit)
    return first, next(late, len(packets))


def _by_decoding_all(media: Media, times: list[float], convert: Callable[[Any], Any]) -> list[Any]:
    """Return the frames of a cut, going by the time stamps of the frames instead of the packets'."""
    found = _decode(media, _packets(media, times[0], times[-1])[0], None, False, convert)
    if not found:
        raise media.error("undecodable", f"no picture could be decoded near {times[0] - media.origin:.3f} s")
    return [found[stamp] for stamp in _shown(sorted(found), [_ticks(t, media.video) for t in times])]


def _stamp(packet: Any) -> Any:
    """Return a packet's decoding time, or where there is none its time of showing, or None."""
    return packet.dts if packet.dts is not None else packet.pts


def _ticks(seconds: float, stream: Any) -> float:
    return (seconds + SAME_INSTANT) / float(stream.time_base)


def _shown(stamps: list[int], ticks: list[float]) -> list[int]:
    """Return, for every instant, the last of the sorted timestamps at or before it; the first where there is none."""
    return [stamps[max(0, bisect.bisect_right(stamps, t) - 1)] for t in ticks]


def _packets(media: Media, first: float, last: float) -> tuple[list[Any], bool]:
    """Demux from the key frame at or before `first` to the last packet that may be shown by `last`.

    Returns the packets in decoding order and whether the file ended there.
    """
    stream, seconds = media.video, float(media.video.time_base)
    media.only(stream)
    step, earliest, limit = 0.0, _ticks(first, stream), _ticks(last, stream)
    while True:
        # A key frame is found by its decoding time, which lies before its time of showing: step back where it matters.
        target = first - step
        seek_back(media, stream, target if target > media.origin else media.origin - _RUN_UP_SECONDS)
        packets: list[Any] = []
        ended = True
        for packet in media.container.demux(stream):
            if packet.size == 0:
                continue
            stamp = _stamp(packet)
            if packets and stamp is not None and stamp > limit:
                ended = False
                break
            packets.append(packet)
            if stamp is not None and (stamp * seconds - target) > MAX_SECONDS:
                raise media.error("too-large", f"no key frame within {MAX_SECONDS} s")
        # Some formats seek to any packet: begin with the last key frame that is shown in time.
        keys = [i for i, p in enumerate(packets) if p.is_keyframe and p.pts is not None and p.pts <= earliest]
        if keys:
            return packets[keys[-1] :], ended
        if target <= media.origin:
            return packets, ended
        step = max(2 * step, 0.5)


def _check_inside(media: Media, packets: list[Any], first: float, ended: bool) -> None:
    if not packets:
        raise media.error("undecodable", "the picture stream holds no data")
    if not ended:
        return
    last = max(packets, key=lambda p: p.pts)
    rate = media.video.average_rate or media.video.guessed_rate
    end = float(last.pts * media.video.time_base)
    end += float(last.duration * media.video.time_base) if last.duration else (1 / float(rate) if rate else 0.0)
    if first >= end - SAME_INSTANT:
        message = f"the cut begins at {first - media.origin:.3f} s, the picture ends at {end - media.origin:.3f} s"
        raise media.error("outside", message)


def _decode(
    media: Media, packets: list[Any], wanted: set[int] | None, skip: bool, convert: Callable[[Any], Any]
) -> dict[int, Any]:
    """Decode packets and return timestamp -> converted frame of the wanted ones (of all, for None).

    With `skip`, frames that are not wanted and to which no other refers are not decoded.
    """
    context = media.video.codec_context
    context.flush_buffers()
    found: dict[int, Any] = {}
    if wanted is not None:
        packets = packets[: 1 + max(i for i, p in enumerate(packets) if p.pts in wanted)]
    for packet in [*packets, None]:
        if packet is not None and wanted is not None:
            context.skip_frame = "NONREF" if skip and packet.pts not in wanted else "DEFAULT"
        for frame in context.decode(packet):
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is not None and (wanted is None or stamp in wanted):
                if frame.is_corrupt:
                    time = float(stamp * frame.time_base) - media.origin
                    raise media.error("undecodable", f"the picture at {time:.3f} s is damaged")
                found[stamp] = convert(frame)
    context.skip_frame = "DEFAULT"
    return found


def displayed_size(media: Media, frame: Any) -> tuple[int, int]:
    """Return the width and height in pixels at which a frame is shown: square pixels, rotation applied."""
    aspect = media.video.codec_context.sample_aspect_ratio
    width = round(frame.width * float(aspect)) if aspect else frame.width
    return (frame.height, width) if round(frame.rotation / 90) % 2 else (width, frame.height)


class _Scaler:
    """Scales frames so that their short side is `size`, and turns them upright; one scaler for all frames of a cut."""

    def __init__(self, media: Media, size: int) -> None:
        self.media, self.size = media, size
        self.reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """Return the whole picture (H, W, 3)."""
        size, turns = self.size, round(frame.rotation / 90) % 4
        width, height = displayed_size(self.media, frame)
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        if turns % 2:
            width, height = height, width
        # BILINEAR averages when it shrinks; FAST_BILINEAR would alias.
        picture = self.reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=Interpolation.BILINEAR
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(picture, turns) if turns else picture)
