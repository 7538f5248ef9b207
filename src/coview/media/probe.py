"""Looking at a media file once, whole: what it holds, and everything about it that training should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coview.errors import MediaError
from coview.media.access import in_passing, key_second, misplaced
from coview.media.container import MAX_SECONDS, Kind, Media, boundary, open_media, sequential_in
from coview.media.content import Look, digest_of, look_at
from coview.media.endings import check_whole, is_cut_off, promised
from coview.media.frames import shown_frames, shown_together
from coview.media.hearing import Ear
from coview.media.names import film_is_called_so, still_is_called_so
from coview.media.regular import head_of
from coview.media.stills import is_still, look_at_still
from coview.media.survey import Seen, survey
from coview.media.told import told
from coview.media.upright import Upright, displayed_size

# Below this the loudest sample of a 16-bit recording is its dither.
SILENT_PEAK = 1e-4
# Streams that begin closer together than this are taken to begin together (two frames at 50 Hz).
TOGETHER_SECONDS = 0.04
# The share of sound packets that may be unreadable before the file is refused.
MOST_DAMAGED = 0.01
# A still with a shorter side is a dot or a spacer of a page, and is flagged.
TINY_PIXELS = 16
USUAL_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000})


@dataclass(frozen=True, kw_only=True)
class VideoStream:
    """The picture stream. Times are seconds on the recording's clock; sizes are as shown, after rotation."""

    width: int
    height: int
    fps: float
    constant_rate: bool
    frames: int
    start: float
    duration: float
    rotation: int  # degrees counter-clockwise, 0, 90, 180 or 270, that decoding applies
    mirrored: bool  # left to right, before that
    codec: str
    keyframe_seconds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """The sound stream. Times are seconds on the recording's clock; `peak` is of the mono mix, full scale 1."""

    sample_rate: int
    channels: int
    start: float
    duration: float
    codec: str
    peak: float
    silent: bool


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a file holds.

    Attributes:
        duration: seconds from the recording's second 0 to the end of its longer stream.
        content: digest of what is seen and heard, see `coview.media.content`.
        told: title and description that the file carries (`coview.media.told`).
        flags: facts that are no errors, of "silent", "no-audio", "no-video", "lost-video" (without a
            key frame), "rotated", "mirrored", "multichannel",
            "odd-rate", "rate-changes", "variable-rate", "no-duration", "wrong-extension", "late-audio", "late-video",
            "gaps" (in the sound), "damaged" (a few packets of sound), "cut-off" (the file's bytes end too early),
            "sequential-video" and "sequential-audio" (cut wrongly by seeking, and therefore read from the beginning);
            of a picture "still", "animated" (its first is read), "tiny", "rotated", "cut-off" and "wrong-extension".
    """

    duration: float
    video: VideoStream | None
    audio: AudioStream | None
    content: str
    flags: tuple[str, ...]
    told: str = ""

    @property
    def sequential(self) -> frozenset[Kind]:
        """The streams without random access, as `open_media` and `read_samples` take them."""
        return sequential_in(self.flags)


def probe(path: Path | str) -> Probe:
    """Read every packet once, decode all the sound, and of the picture's frames the few that are looked at.

    These are the first, the last and the key frame at which access by time is checked. A still is decoded whole.

    Raises:
        MediaError: with one of the reasons "missing", "unreadable", "empty", "too-large", "not-media", "truncated",
            "no-streams", "zero-length", "undecodable", "bad-rate" or "too-narrow".
    """
    path = Path(path)
    with boundary(path):
        return _still(path) if is_still(head_of(path)) else _film(path)


def _film(path: Path) -> Probe:
    with open_media(path) as media:
        found = survey(media)
        seen, ear = found.seen, found.ear
        has_picture, has_sound = bool(seen.times), ear is not None and ear.packets > 1  # the last only ends the stream
        if media.video is not None and not has_picture:
            _leave_out(media, media.video, has_sound)
            media.video = None
        if media.audio is not None and not has_sound:
            _leave_out(media, media.audio, has_picture)
            media.audio = ear = None
        # Before what cannot be decoded: the last packet of a file that was cut off is often damaged.
        check_whole(media, found.ends)
        audio = None if ear is None else _audio(media, ear)
        try:
            passed = in_passing(media, seen.run)
            video, looks = (None, []) if media.video is None else _video(media, seen, passed)
        except MediaError:
            if seen.keys or audio is None:
                raise
            video, looks = None, []  # a piece of a film between two key frames: all that it holds is sound
        end = max(stream.start + stream.duration for stream in (video, audio) if stream is not None)
        if end <= 0:
            raise media.error("zero-length", "the streams last 0 seconds")
        if end > MAX_SECONDS:
            raise media.error("too-large", f"{end:.0f} s; at most {MAX_SECONDS:.0f} s are read")
        sequential = misplaced(media, found, looks[1] if len(looks) > 2 else None, passed)
        heard = b"" if ear is None or ear.peak < SILENT_PEAK else ear.loudest.loudness()
        content = digest_of(looks, len(seen.times), heard)
        flags = _flags(media, video, audio, ear, sequential)
        spoken = told(media.container.metadata)
        return Probe(duration=end, video=video, audio=audio, content=content, flags=flags, told=spoken)


def _still(path: Path) -> Probe:
    """Return what a picture is: a stream of one frame that lasts 0 s."""
    still, look = look_at_still(path)
    video = VideoStream(
        width=still.width,
        height=still.height,
        fps=0.0,
        constant_rate=True,
        frames=1,
        start=0.0,
        duration=0.0,
        rotation=still.rotation,
        mirrored=still.mirrored,
        codec=still.codec,
        keyframe_seconds=(0.0,),
    )
    facts = {
        "still": True,
        "animated": still.animated,
        "tiny": min(still.width, still.height) < TINY_PIXELS,
        "rotated": still.rotation != 0,
        "mirrored": still.mirrored,
        "cut-off": is_cut_off(path, still.codec),
        "wrong-extension": not still_is_called_so(path.suffix, still.codec),
    }
    flags = tuple(name for name, holds in facts.items() if holds)
    content = digest_of([look], 1, b"")
    return Probe(duration=0.0, video=video, audio=None, content=content, flags=flags, told=still.told)


def _leave_out(media: Media, stream: Any, more: bool) -> None:
    """Accept that a stream has no packets: `more` says that there is another, and its header promises none.

    Raises:
        MediaError: "truncated" or "zero-length".
    """
    # Matroska states the length of the whole alone, which is then taken for that of a track that stayed empty too.
    stated = stream.duration and not (more and media.format == "matroska")
    seconds = float(stream.duration * stream.time_base) if stated else 0.0
    what = "picture" if stream.type == "video" else "sound"
    if seconds or (not more and promised(media)):
        seconds = seconds or promised(media)
        raise media.error("truncated", f"the header promises {seconds:.2f} s, and there is no data of the {what}")
    if not more:
        raise media.error("zero-length", f"the {what} stream holds no data")


def _video(media: Media, seen: Seen, passed: Mapping[int, Any]) -> tuple[VideoStream, list[Look]]:
    """Return what the picture is, and the frames looked at: the first, perhaps one key frame, the last."""
    times = np.sort(np.array(seen.times))
    steps = np.diff(times)
    declared = media.video.average_rate or media.video.guessed_rate
    fps = float(declared) if declared else 1.0
    if len(steps) and steps.sum() > 0:
        fps = round(len(steps) / float(steps.sum()), 6)
    middle = float(np.median(steps)) if len(steps) else 0.0
    # Containers that count milliseconds round each step by up to one of them, twice.
    constant = not len(steps) or float(np.abs(steps - middle).max()) <= max(0.0021, 0.05 * middle)
    start, end = float(times[0]), float(times[-1]) + (max(zip(seen.times, seen.steps, strict=True))[1] or 1 / fps)
    stamp = round((start + media.origin) / float(media.video.time_base))
    first = passed[stamp] if stamp in passed else shown_frames(media, [start + media.origin])[0]
    # The end is among them: whatever begins well can still be damaged there.
    later = [*([key_second(media, seen)] if seen.run else []), end - 0.5 / fps + media.origin]
    looks = [look_at(first), *(look for [look] in shown_together(media, [[second] for second in later], look_at))]
    width, height = displayed_size(media, first)
    upright = Upright.of(first)
    stream = VideoStream(
        width=width,
        height=height,
        fps=fps,
        constant_rate=constant,
        frames=len(times),
        start=start,
        duration=end - start,
        rotation=upright.turns * 90,
        mirrored=upright.mirrored,
        codec=media.video.codec_context.name,
        keyframe_seconds=tuple(seen.keys),
    )
    return stream, looks


def _audio(media: Media, ear: Ear) -> AudioStream:
    if ear.samples == 0 or ear.start is None:
        if ear.damaged:
            raise media.error("undecodable", f"none of {ear.packets} packets of sound could be decoded")
        raise media.error("zero-length", "the sound stream holds no samples")
    if ear.damaged > max(1, MOST_DAMAGED * ear.packets):  # bytes behind the last packet often look like one more
        raise media.error("undecodable", f"{ear.damaged} of {ear.packets} packets of sound could not be decoded")
    return AudioStream(
        sample_rate=ear.rate,
        channels=ear.channels,
        start=ear.start,
        duration=ear.end - ear.start,
        codec=media.audio.codec_context.name,
        peak=ear.peak,
        silent=ear.peak < SILENT_PEAK,
    )


def _flags(
    media: Media, video: VideoStream | None, audio: AudioStream | None, ear: Ear | None, sequential: frozenset[Kind]
) -> tuple[str, ...]:
    late = audio.start - video.start if video is not None and audio is not None else 0.0
    facts = {
        "no-video": video is None,
        "lost-video": video is None and media.video is not None,
        "no-audio": audio is None,
        "silent": audio is not None and audio.silent,
        "rotated": video is not None and video.rotation != 0,
        "mirrored": video is not None and video.mirrored,
        "multichannel": audio is not None and audio.channels > 2,
        "odd-rate": audio is not None and audio.sample_rate not in USUAL_RATES,
        "rate-changes": ear is not None and len(ear.rates) > 1,
        "variable-rate": video is not None and not video.constant_rate,
        "no-duration": not promised(media),
        "wrong-extension": not film_is_called_so(media),
        "late-audio": late > TOGETHER_SECONDS,
        "late-video": late < -TOGETHER_SECONDS,
        "gaps": ear is not None and ear.gaps > 0,
        "damaged": ear is not None and ear.damaged > 0,
        "cut-off": is_cut_off(media.path, media.format),
        "sequential-video": "video" in sequential,
        "sequential-audio": "audio" in sequential,
    }
    return tuple(name for name, holds in facts.items() if holds)
