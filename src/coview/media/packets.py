"""Which packets of a film a cut needs: from the key frame at or before it to the last one that may be shown in it."""

from __future__ import annotations

from typing import Any

from coview.errors import MediaError
from coview.media.container import MAX_SECONDS, Media, seek_back
from coview.media.cuts import SAME_INSTANT

# Reordered frames are decoded before the stream's first is shown, and after later ones, by less than this.
RUN_UP_SECONDS = 1.0


def packets_of(media: Media, first: float, last: float) -> tuple[list[Any], bool]:
    """Demux from the key frame at or before `first` to the last packet that may be shown by `last`.

    Where no key frame lies so early, the first one of the file is included. Returns the packets in decoding order and
    whether the file ended there.
    """
    stream, seconds = media.video, float(media.video.time_base)
    media.only(stream)
    step, earliest, limit = 0.0, ticks(first, stream), ticks(last, stream)
    while True:
        # A key frame is found by its decoding time, which lies before its time of showing: step back where it matters.
        target = first - step
        seek_back(media, stream, target if target > media.origin else media.origin - RUN_UP_SECONDS)
        packets: list[Any] = []
        ended, key = True, False
        for packet in media.container.demux(stream):
            if packet.size == 0:
                continue
            stamp = stamp_of(packet)
            if packets and key and _passes(limit, packets[-1], packet):
                ended = False
                break
            packets.append(packet)
            key = key or packet.is_keyframe
            if stamp is not None and (stamp * seconds - target) > MAX_SECONDS:
                raise media.error("too-large", f"no key frame within {MAX_SECONDS} s")
        # Some formats seek to any packet: begin with the last key frame that is shown in time.
        keys = [i for i, p in enumerate(packets) if p.is_keyframe and _when(media, p) is not None]
        early = [i for i in keys if _when(media, packets[i]) <= earliest]
        if early:
            return packets[early[-1] :], ended
        if target <= media.origin:
            return packets[keys[0] if keys else 0 :], ended
        step = max(2 * step, 0.5)


def _when(media: Media, packet: Any) -> Any:
    """Return when a key frame is shown, in ticks."""
    return stamp_of(packet) if media.ordered else packet.pts


def check_inside(media: Media, packets: list[Any], first: float, ended: bool) -> None:
    """Refuse a cut that begins at stream second `first` where the last packet's picture has ended.

    Raises:
        MediaError: "outside", or "undecodable" where there is no packet.
    """
    if not packets:
        raise media.error("undecodable", "the picture stream holds no data")
    if not ended:
        return
    last = max(packets, key=lambda p: (not p.is_discard, p.pts))
    rate = media.video.average_rate or media.video.guessed_rate
    end = float(last.pts * media.video.time_base)
    end += float(last.duration * media.video.time_base) if last.duration else (1 / float(rate) if rate else 0.0)
    if first >= end - SAME_INSTANT:
        raise outside(media, first, end)


def outside(media: Media, first: float, end: float) -> MediaError:
    """Return the error of a cut that begins after the picture's end."""
    message = f"the cut begins at {first - media.origin:.3f} s, the picture ends at {end - media.origin:.3f} s"
    return media.error("outside", message)


def part_of(media: Media, packets: list[Any], times: list[float]) -> tuple[int, int]:
    """Return the part of the packets that a cut needs: from its last key frame to the last one that may be shown."""
    earliest, limit = ticks(times[0], media.video), ticks(times[-1], media.video)
    keys = [i for i, p in enumerate(packets) if p.is_keyframe]
    first = max((i for i in keys if packets[i].pts <= earliest), default=keys[0] if keys else 0)
    late = (i for i in range(first + 1, len(packets)) if _passes(limit, packets[i - 1], packets[i]))
    return first, next(late, len(packets))


def _passes(limit: float, before: Any, packet: Any) -> bool:
    """Tell whether neither a packet nor what follows may be shown by `limit`.

    Without a decoding time that takes two packets: a frame may be stored before those shown earlier, and a single
    time of showing may be damaged.
    """
    late = stamp_of(packet) is not None and stamp_of(packet) > limit
    return late and (packet.dts is not None or (stamp_of(before) is not None and stamp_of(before) > limit))


def stamp_of(packet: Any) -> Any:
    """Return a packet's decoding time, or where there is none its time of showing, or None."""
    return packet.dts if packet.dts is not None else packet.pts


def ticks(seconds: float, stream: Any) -> float:
    """Return a second in units of the stream's clock, a little later, so that equal instants count as reached."""
    return (seconds + SAME_INSTANT) / float(stream.time_base)
