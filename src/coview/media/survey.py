"""One pass over a file: every packet of the chosen streams is read once, and all the sound decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import av

from coview.media.container import Media
from coview.media.hearing import Ear
from coview.media.packets import stamp_of

# Access by time is checked at the last key frame up to this second, or at the second key frame where that is later.
CHECKED_SECONDS = 20.0


@dataclass
class Seen:
    """What is kept of the picture's packets; times are seconds on the recording's clock.

    Attributes:
        times, steps: when each packet's picture is shown, and how long; what an edit list leaves out is not in them.
        keys: when the key frames are shown.
        clock: where the latest packet ends, for streams whose packets carry no times.
        run: packets: the first key frame, the frame before the one at which access is checked, and that one; empty
            where there is no second key frame.
    """

    times: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    keys: list[float] = field(default_factory=list)
    run: list[Any] = field(default_factory=list)
    packets: int = 0
    clock: float = 0.0
    _first: Any = None
    _last: Any = None

    def see(self, packet: Any, time: float, step: float) -> None:
        """Take in a packet."""
        self.packets, self.clock = self.packets + 1, time + step
        if packet.is_keyframe and self.keys and not packet.is_discard and (time <= CHECKED_SECONDS or not self.run):
            self.run = [self._first, self._last, packet]
        self._last = packet
        if packet.is_keyframe:
            self._first = self._first or packet
            self.keys.append(time)
            if len(self.keys) == 1:  # what lies before the first cannot be decoded
                self.times, self.steps = [], []
        if not packet.is_discard:
            self.times.append(time)
            self.steps.append(step)


@dataclass
class Survey:
    """What a pass found: the picture's packets, the sound, and by stream index where its packets end."""

    seen: Seen
    ear: Ear | None
    ends: dict[int, float]


def survey(media: Media, until: float | None = None) -> Survey:
    """Read a file once, whole, or about as far as second `until` of the recording's clock.

    Raises:
        MediaError: "truncated" where the file cannot be read to its end; "bad-rate" and "undecodable" as of the sound.
    """
    seen, ends = Seen(), dict[int, float]()
    ear = None if media.audio is None else Ear(media, CHECKED_SECONDS)
    video = -1 if media.video is None else media.video.index
    audio = -1 if media.audio is None else media.audio.index
    seconds = {stream.index: float(stream.time_base) for stream in media.container.streams if stream.time_base}
    try:
        for packet in media.container.demux():
            index, stamp = packet.stream_index, packet.pts
            if index == audio and ear is not None:
                ear.hear(packet)
            if packet.size == 0 or index not in seconds:
                continue
            if stamp is None or (media.ordered and index == video):
                stamp = stamp_of(packet)
            if stamp is None and index == video:
                stamp = round((seen.clock + media.origin) / seconds[index])
            if stamp is None:
                continue
            time, step = stamp * seconds[index] - media.origin, (packet.duration or 0) * seconds[index]
            ends[index] = max(ends.get(index, 0.0), time + step)
            if index == video:
                seen.see(packet, time, step)
            if until is not None and time > until and (index == video or media.video is None) and _enough(seen, media):
                break
    except av.error.FFmpegError as error:
        raise media.error("truncated", f"the file cannot be read to its end ({error})") from error
    if ear is not None:
        ear.finish()
    return Survey(seen, ear, ends)


def _enough(seen: Seen, media: Media) -> bool:
    return media.video is None or len(seen.keys) > 1
