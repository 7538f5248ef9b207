"""Which frames of a film are shown at given instants, by PyAV: decode what they need and nothing more.

Where seeking cannot be trusted (`Media.sequential`), everything from the file's beginning is decoded.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import av

from coview.media.container import Media, open_media
from coview.media.cuts import SAME_INSTANT
from coview.media.packets import RUN_UP_SECONDS, check_inside, outside, packets_of, part_of, ticks

Convert = Callable[[Any], Any]

# Cuts further apart than this are sought one by one: the packets between them would only fill memory.
_FAR_SECONDS = 10.0

# Codecs whose non-reference frames can be left out without changing any other frame by a bit (tested).
_SKIPPABLE = {"h264", "hevc"}


class _OutOfOrderError(Exception):
    """Frames left the decoder with times that do not increase: they are those of storing, not of showing."""


def shown_frames(media: Media, times: list[float], convert: Convert = lambda frame: frame) -> list[Any]:
    """Return the frame shown at each of the stream seconds `times`; repeated frames are the same object.

    `convert` is applied to each as soon as it is decoded, so that many small pictures of large frames fit in memory.
    """
    return shown_together(media, [times], convert)[0]


def every_frame(media: Media) -> Iterator[tuple[float, Any]]:
    """Yield (second of the recording's clock, frame) of a whole film in the order of showing, each decoded once.

    For a file that was just opened. A frame whose time does not rise is left out.

    Raises:
        MediaError: "undecodable" or "too-large".
    """
    media.only(media.video)
    latest = -math.inf
    packets = (packet for packet in media.container.demux(media.video) if packet.size)
    for second, frame in _without_strays(_decoded(media, packets)):
        if second > latest:
            latest = second
            yield second - media.origin, frame


def shown_together(media: Media, cuts: list[list[float]], convert: Convert) -> list[list[Any]]:
    """Return the frames shown at the stream seconds of every cut, each increasing; see `shown_frames`.

    Raises:
        MediaError: "outside" (a cut begins after the last frame's end), "undecodable" or "too-large".
    """
    read = _from_the_beginning if "video" in media.sequential else _by_seeking
    try:
        return read(media, cuts, convert)
    except _OutOfOrderError:
        media.ordered = True
        return read(media, cuts, convert)


def _by_seeking(media: Media, cuts: list[list[float]], convert: Convert) -> list[list[Any]]:
    found: dict[int, list[Any]] = {}
    near: list[int] = []
    for number in sorted(range(len(cuts)), key=lambda number: cuts[number][0]):
        if near and cuts[number][0] > max(cuts[other][-1] for other in near) + _FAR_SECONDS:
            found |= zip(near, _in_one_pass(media, [cuts[other] for other in near], convert), strict=True)
            near = []
        near.append(number)
    found |= zip(near, _in_one_pass(media, [cuts[other] for other in near], convert), strict=True)
    return [found[number] for number in range(len(cuts))]


def _in_one_pass(media: Media, cuts: list[list[float]], convert: Convert) -> list[list[Any]]:
    """Return the frames of cuts in the order of their beginnings; packets are read once.

    Each cut is decoded from its own last key frame, as if it were alone; those that share one are decoded together.
    """
    try:
        packets, ended = packets_of(media, cuts[0][0], max(times[-1] for times in cuts))
        if media.ordered or any(p.pts is None for p in packets):
            return [_by_decoding_all(media, times, convert) for times in cuts]
        wanted: list[list[int]] = []
        runs: dict[int, list[int]] = {}  # where decoding begins -> the cuts decoded from there
        end = 0
        for number, times in enumerate(cuts):
            first, last = part_of(media, packets, times)
            check_inside(media, packets[first:last], times[0], ended and last == len(packets))
            stamps = sorted(p.pts for p in packets[first:last] if not p.is_discard)
            wanted.append(_shown(stamps or [packets[first].pts], [ticks(t, media.video) for t in times]))
            runs.setdefault(first, []).append(number)
            end = max(end, last)
        shown: list[list[Any]] = [[] for _ in cuts]
        for first, numbers in runs.items():
            stamps_wanted = {stamp for number in numbers for stamp in wanted[number]}
            skip = media.video.codec_context.name in _SKIPPABLE
            found = _decode(media, packets[first:end], stamps_wanted, skip, convert)
            for number in numbers:
                if all(stamp in found for stamp in wanted[number]):
                    shown[number] = [found[stamp] for stamp in wanted[number]]
        # Timestamps that the decoder changes: decode everything and go by the frames' own.
        return [frames or _by_decoding_all(media, times, convert) for frames, times in zip(shown, cuts, strict=True)]
    except av.error.FFmpegError as error:
        raise media.error("undecodable", f"picture near {cuts[0][0] - media.origin:.3f} s: {error}") from error


def _by_decoding_all(media: Media, times: list[float], convert: Convert) -> list[Any]:
    """Return the frames of a cut, going by the frames that the decoder gives instead of the packets' time stamps.

    Where a picture is renewed piece by piece, the first whole one comes long after a key frame: begin earlier.
    """
    back = 0.0
    shown: list[Any] | None = None
    while True:
        begin = times[0] - back
        packets, ended = packets_of(media, begin, times[-1] + (RUN_UP_SECONDS if media.ordered else 0.0))
        frames = _without_strays(_decoded(media, packets))
        first = next(frames, None)
        if begin <= media.origin or (first is not None and first[0] <= times[0] + SAME_INSTANT):
            break
        back = max(2 * back, 1.0)
    if first is not None:
        shown = _assign(media, itertools.chain([first], frames), times, convert, times[0] if ended else None)
    if shown is None:
        raise media.error("undecodable", f"no picture could be decoded near {times[0] - media.origin:.3f} s")
    return shown


def _from_the_beginning(media: Media, cuts: list[list[float]], convert: Convert) -> list[list[Any]]:
    """Return the frames of cuts after decoding everything before them, from a file opened anew."""
    times = sorted({time for times in cuts for time in times})
    with open_media(media.path) as fresh:
        fresh.only(fresh.video)
        fresh.ordered = media.ordered
        packets = (packet for packet in fresh.container.demux(fresh.video) if packet.size)
        shown = _assign(media, _without_strays(_decoded(fresh, packets)), times, convert, max(cut[0] for cut in cuts))
    if shown is None:
        raise media.error("undecodable", f"no picture could be decoded up to {times[-1] - media.origin:.3f} s")
    known = dict(zip(times, shown, strict=True))
    return [[known[time] for time in times] for times in cuts]


def _assign(
    media: Media, frames: Iterable[tuple[float, Any]], times: Sequence[float], convert: Convert, latest: float | None
) -> list[Any] | None:
    """Return the frame shown at each of the increasing `times`, from frames as they come; None where none comes.

    Args:
        latest: where the last of the cuts begins, if the last of the frames is the film's.

    Raises:
        MediaError: "outside": a cut begins after the film's end.
    """
    shown: list[Any] = []
    last: tuple[float, Any] | None = None
    picture: Any = None  # of `last`, once it is wanted
    step = 0.0
    for second, frame in frames:
        while len(shown) < len(times) and (last is not None and second > times[len(shown)] + SAME_INSTANT):
            picture = convert(last[1]) if picture is None else picture
            shown.append(picture)
        if len(shown) == len(times):
            return shown
        if last is not None and second < last[0] and not media.ordered:
            raise _OutOfOrderError
        step = second - last[0] if last is not None else step
        last, picture = (second, frame), None
    if last is None:
        return None
    rate = media.video.average_rate or media.video.guessed_rate
    end = last[0] + (step if step > 0 else 1 / float(rate) if rate else 0.0)
    if latest is not None and latest >= end - SAME_INSTANT:
        raise outside(media, latest, end)
    picture = convert(last[1]) if picture is None else picture
    return shown + [picture] * (len(times) - len(shown))


def _decoded(media: Media, packets: Iterable[Any]) -> Iterator[tuple[float, Any]]:
    """Decode packets from a key frame on and yield (stream second of showing, frame), in the order of showing."""
    context, seconds = media.video.codec_context, float(media.video.time_base)
    context.flush_buffers()
    rate = media.video.average_rate or media.video.guessed_rate
    step = 1 / float(rate) if rate else 0.04
    stored: deque[float] = deque()  # times of the packets whose frames have not come yet
    clock = media.origin
    begun = False
    for packet in _with_the_end(packets):
        if packet is not None and not packet.is_discard:
            clock = packet.dts * seconds if packet.dts is not None else clock
            stored.append(clock)
            clock += packet.duration * seconds if packet.duration else step
        try:
            frames = context.decode(packet)
        except av.error.InvalidDataError:
            if begun:
                raise
            stored.clear()
            continue  # what lies before the first key frame
        for frame in frames:
            begun = True
            arrived = stored.popleft() if stored else clock
            _check_frame(media, frame)
            yield arrived if media.ordered or frame.pts is None else frame.pts * seconds, frame


def _without_strays(frames: Iterable[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    """Leave out frames whose time is damaged: the next one is shown far before them."""
    held: tuple[float, Any] | None = None
    for second, frame in frames:
        if held is not None and held[0] - second <= RUN_UP_SECONDS:
            yield held
        held = second, frame
    if held is not None:
        yield held


def _with_the_end(packets: Iterable[Any]) -> Iterator[Any]:
    yield from packets
    yield None  # which makes the decoder give what it has kept back


def _check_frame(media: Media, frame: Any) -> None:
    if frame.is_corrupt:
        stamp = frame.pts if frame.pts is not None else frame.dts
        where = f" at {float(stamp * frame.time_base) - media.origin:.3f} s" if stamp is not None else ""
        raise media.error("undecodable", f"the picture{where} is damaged")


def _shown(stamps: list[int], instants: list[float]) -> list[int]:
    """Return, for every instant, the last of the sorted timestamps at or before it; the first where there is none."""
    return [stamps[max(0, bisect.bisect_right(stamps, t) - 1)] for t in instants]


def _decode(media: Media, packets: list[Any], wanted: set[int], skip: bool, convert: Convert) -> dict[int, Any]:
    """Decode packets and return timestamp -> converted frame of the wanted ones.

    With `skip`, frames that are not wanted and to which no other refers are not decoded.
    """
    context = media.video.codec_context
    context.flush_buffers()
    found: dict[int, Any] = {}
    before: int | None = None
    latest: int | None = None
    packets = packets[: 1 + max(i for i, p in enumerate(packets) if p.pts in wanted)]
    try:
        for packet in _with_the_end(packets):
            if packet is not None:
                context.skip_frame = "NONREF" if skip and packet.pts not in wanted else "DEFAULT"
            for frame in context.decode(packet):
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is None:
                    continue
                if latest is not None and stamp < latest:
                    near = latest - stamp <= RUN_UP_SECONDS / media.video.time_base
                    if near or (before is not None and stamp < before):  # a clock that begins anew is no stray
                        raise _OutOfOrderError
                    found.pop(latest, None)  # as `_without_strays`
                    latest = before
                before, latest = latest, stamp
                if stamp in wanted:
                    _check_frame(media, frame)
                    found[stamp] = convert(frame)
    finally:
        context.skip_frame = "DEFAULT"
    return found
