"""Whether a file can be cut at a second: what seeking brings is compared with what lies there.

Wrong byte rates, wrong tables and pictures that are called key frames and are none misplace cuts without any error.
Checked once, when a file is indexed, near its 20th second; a stream that differs is read from the beginning.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

from coview.errors import MediaError
from coview.media.container import Kind, Media, open_media
from coview.media.content import Look, look_at
from coview.media.cuts import AudioCut
from coview.media.frames import shown_frames
from coview.media.hearing import Ear
from coview.media.regular import is_regular
from coview.media.sounds import read_sound
from coview.media.survey import CHECKED_SECONDS, Seen, Survey, survey

_CUT_SECONDS = 0.25
_SLACK_SECONDS = 0.004  # a container's clock may count in milliseconds
# Below this a cut of sound is too low to tell it from another.
_AUDIBLE = 1e-3
# Two decodings of one sound are at least so alike: codecs fill bands with noise of their own.
_ALIKE = 0.5


def sequential_streams(path: Path | str) -> frozenset[Kind]:
    """Return the streams of a file that seeking misplaces; looked at once for each state of the file.

    For files that no index knows; `Probe.sequential` has the same answer. A file that cannot be read has none.
    """
    path = Path(path)
    if not is_regular(path):
        return frozenset()
    facts = path.stat()
    return _look_into(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _look_into(path: Path, size: int, changed: int) -> frozenset[Kind]:
    try:
        with open_media(path) as media:
            found = survey(media, CHECKED_SECONDS)
            passed = in_passing(media, found.seen.run)
            sought = shown_frames(media, [key_second(media, found.seen)], look_at)[0] if found.seen.run else None
            return misplaced(media, found, sought, passed)
    except MediaError:  # whoever reads the file says what is wrong with it
        return frozenset()


def misplaced(media: Media, found: Survey, sought: Look | None, passed: Mapping[int, Any]) -> frozenset[Kind]:
    """Return the streams of which seeking brings something else than what lies there.

    Args:
        sought: of the key frame that ends `found.seen.run`, as seeking brings it; None where there is none.
        passed: frames as `in_passing` gave them.
    """
    kinds: set[Kind] = set(media.sequential)
    if "video" not in kinds and sought is not None and not _picture_is_placed(media, found.seen, sought, passed):
        kinds.add("video")
    if found.ear is not None and not _sound_is_placed(media, found.ear):
        kinds.add("audio")
    return frozenset(kinds)


def key_second(media: Media, seen: Seen) -> float:
    """Return when the key frame is shown at which access is checked, on the stream's clock."""
    packet = seen.run[-1]
    stamp = packet.dts if media.ordered or packet.pts is None else packet.pts
    return float(stamp * media.video.time_base)


def in_passing(media: Media, run: list[Any]) -> dict[int, Any]:
    """Decode the packets of `Seen.run` one after the other; return time stamp -> frame of the key frames among them."""
    context: Any = media.video.codec_context if run else None
    wanted = {p.pts for p in run if p.is_keyframe}
    found: dict[int, Any] = {}
    if run:
        context.flush_buffers()
    for packet in [*run, None] if run else []:
        try:
            frames = context.decode(packet)
        except av.error.FFmpegError:  # between two key frames much is missing
            continue
        found |= {frame.pts: frame for frame in frames if frame.pts in wanted and not frame.is_corrupt}
    return found


def _picture_is_placed(media: Media, seen: Seen, sought: Look, passed: Mapping[int, Any]) -> bool:
    # A key frame looks the same whatever was decoded before it.
    frame = passed.get(seen.run[-1].pts)
    if frame is not None and look_at(frame) == sought:
        return True
    with open_media(media.path) as fresh:
        fresh.sequential, fresh.ordered = frozenset({"video"}), media.ordered
        try:
            return bool(sought == shown_frames(fresh, [key_second(media, seen)], look_at)[0])
        except MediaError:  # damaged on the way there: a cut of it fails by itself, and says so
            return True


def _sound_is_placed(media: Media, ear: Ear) -> bool:
    rate = ear.rate
    length, slack = round(_CUT_SECONDS * rate), round(_SLACK_SECONDS * rate)
    sizes = np.cumsum([len(piece) for _, piece in ear.early])
    if not len(sizes) or sizes[-1] < 2 * length:
        return True
    # The loudest block of the later half: from the beginning on, nothing is sought.
    usable = [k for k, size in enumerate(sizes) if size >= sizes[-1] // 2 and sizes[-1] - size >= length]
    number = max(usable, key=lambda k: float(np.abs(ear.early[k + 1][1]).max()), default=None)
    if number is None or np.abs(ear.early[number + 1][1]).max() < _AUDIBLE:
        return True
    start, at = ear.early[number + 1][0], int(sizes[number])
    if start < 0:
        return True
    heard = np.concatenate([piece for _, piece in ear.early])
    try:
        sought = read_sound(media, AudioCut(start=start, seconds=_CUT_SECONDS, sample_rate=rate)).waveform.numpy()
    except MediaError:
        return False
    there = heard[max(0, at - slack) : at + len(sought) + slack]
    likeness = np.correlate(there, sought[: len(there)], "valid").max()
    power = float(np.linalg.norm(heard[at : at + len(sought)]) * np.linalg.norm(sought))
    return power > 0 and float(likeness) > _ALIKE * power
