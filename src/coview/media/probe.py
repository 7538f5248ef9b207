"""Looking at a media file once, whole: what it holds, and everything about it that training should know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from coview.media.container import MAX_SECONDS, Media, open_media, seek_back
from coview.media.frames import shown_frames
from coview.media.regular import head_of
from coview.media.sounds import JITTER_SECONDS, to_mono
from coview.media.stills import is_still, look_at_still
from coview.media.upright import displayed_size

# Below this the loudest sample of a 16-bit recording is its dither.
SILENT_PEAK = 1e-4
# Streams that begin closer together than this are taken to begin together (two frames at 50 Hz).
TOGETHER_SECONDS = 0.04
# A file that ends earlier than its header says, by more than this, was cut off.
CUT_OFF_SECONDS = 0.5
# The share of sound packets that may be unreadable before the file is refused.
MOST_DAMAGED = 0.01
# A still with a shorter side is a dot or a spacer of a page, and is flagged.
TINY_PIXELS = 16
USUAL_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000})
# Formats whose header states the length; others estimate it from the bit rate.
_KNOWS_LENGTH = frozenset({"mov", "matroska", "avi", "wav", "flac", "asf", "flv"})

# Extensions beyond those that the format itself declares.
_ALSO_CALLED = {
    "mov": {"m4v", "qt"},
    "mpegts": {"ts", "mts", "m2ts"},
    "mpeg": {"mpg", "mpeg", "vob"},
    "wav": {"wav", "wave"},
    "ogg": {"oga", "ogv", "opus", "spx"},
    "asf": {"wmv", "wma", "asf"},
    "avi": {"divx"},
    "aac": {"adts"},
}
_STILLS_CALLED = {
    "jpeg": {"jpg", "jpeg", "jpe", "jfif", "mpo"},
    "png": {"png", "apng"},
    "webp": {"webp"},
    "bmp": {"bmp", "dib"},
    "gif": {"gif"},
}


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
        flags: facts that are no errors, of "silent", "no-audio", "no-video", "rotated", "multichannel", "odd-rate",
            "variable-rate", "no-duration", "wrong-extension", "late-audio", "late-video", "gaps" (in the sound) and
            "damaged" (a few packets of sound); of a picture "still", "animated" (its first is read), "tiny", "rotated"
            and "wrong-extension".
    """

    duration: float
    video: VideoStream | None
    audio: AudioStream | None
    flags: tuple[str, ...]


def probe(path: Path | str) -> Probe:
    """Read every packet, decode all the sound and the picture's first and last frames; a still picture whole.

    Raises:
        MediaError: with one of the reasons "missing", "unreadable", "empty", "too-large", "not-media", "truncated",
            "no-streams", "zero-length", "undecodable" or "too-narrow".
    """
    if is_still(head_of(path)):
        return _still(Path(path))
    with open_media(path) as media:
        spans = _packet_times(media)
        promised = max(_promised(media), default=0.0)
        if media.video is not None and not spans[media.video.index]:
            raise media.error(*_no_packets(promised, "picture"))
        if media.audio is not None and not spans[media.audio.index]:
            raise media.error(*_no_packets(promised, "sound"))
        # Before decoding: the last packet of a file that was cut off is often damaged, which is not the news.
        _check_whole(media, max(time + seconds for times in spans.values() for time, seconds, _ in times))
        video = None if media.video is None else _video(media, spans[media.video.index])
        audio, heard = (None, None) if media.audio is None else _audio(media)
        end = max(stream.start + stream.duration for stream in (video, audio) if stream is not None)
        if end <= 0:
            raise media.error("zero-length", "the streams last 0 seconds")
        if end > MAX_SECONDS:
            raise media.error("too-large", f"{end:.0f} s; at most {MAX_SECONDS:.0f} s are read")
        _check_whole(media, end)
        return Probe(duration=end, video=video, audio=audio, flags=_flags(media, video, audio, heard))


def _still(path: Path) -> Probe:
    """Return what a picture is: a stream of one frame that lasts 0 s."""
    still = look_at_still(path)
    video = VideoStream(
        width=still.width,
        height=still.height,
        fps=0.0,
        constant_rate=True,
        frames=1,
        start=0.0,
        duration=0.0,
        rotation=still.rotation,
        codec=still.codec,
        keyframe_seconds=(0.0,),
    )
    facts = {
        "still": True,
        "animated": still.animated,
        "tiny": min(still.width, still.height) < TINY_PIXELS,
        "rotated": still.rotation != 0,
        "wrong-extension": path.suffix.lower().lstrip(".") not in _STILLS_CALLED[still.codec],
    }
    return Probe(duration=0.0, video=video, audio=None, flags=tuple(name for name, holds in facts.items() if holds))


Times = list[tuple[float, float, bool]]  # (second of showing, duration, key frame) of every packet


def _packet_times(media: Media) -> dict[int, Times]:
    spans: dict[int, Times] = {s.index: [] for s in media.streams}
    try:
        for packet in media.container.demux(*media.streams):
            if packet.size == 0:
                continue
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None:
                time = float(stamp * packet.time_base) - media.origin
                spans[packet.stream.index].append(
                    (time, float((packet.duration or 0) * packet.time_base), packet.is_keyframe)
                )
    except av.error.FFmpegError as error:
        raise media.error("truncated", f"the file cannot be read to its end ({error})") from error
    return spans


def _promised(media: Media) -> list[float]:
    """Durations that the header declares, in seconds."""
    declared = [float(s.duration * s.time_base) for s in media.streams if s.duration is not None]
    return declared + ([media.container.duration / 1e6] if media.container.duration is not None else [])


def _no_packets(promised: float, what: str) -> tuple[str, str]:
    if promised:
        return "truncated", f"the header promises {promised:.2f} s, and there is no data of the {what}"
    return "zero-length", f"the {what} stream holds no data"


def _video(media: Media, packets: Times) -> VideoStream:
    times = np.sort(np.array([time for time, _, _ in packets]))
    steps = np.diff(times)
    declared = media.video.average_rate or media.video.guessed_rate
    fps = float(declared) if declared else 1.0
    if len(steps) and steps.sum() > 0:
        fps = round(len(steps) / float(steps.sum()), 6)
    last = max(packets)
    duration = float(times[-1] - times[0]) + (last[1] or 1 / fps)
    middle = float(np.median(steps)) if len(steps) else 0.0
    # Containers that count milliseconds round each step by up to one of them, twice.
    constant = not len(steps) or float(np.abs(steps - middle).max()) <= max(0.0021, 0.05 * middle)
    start = float(times[0])
    first = shown_frames(media, [start + media.origin])[0]
    shown_frames(media, [start + media.origin + duration - 0.5 / fps])  # the end can be decoded too
    width, height = displayed_size(media, first)
    return VideoStream(
        width=width,
        height=height,
        fps=fps,
        constant_rate=constant,
        frames=len(packets),
        start=start,
        duration=duration,
        rotation=round(first.rotation / 90) * 90 % 360,
        codec=media.video.codec_context.name,
        keyframe_seconds=tuple(time for time, _, key in packets if key),
    )


@dataclass
class _Heard:
    start: float | None = None
    end: float = 0.0
    samples: int = 0
    peak: float = 0.0
    gaps: int = 0
    damaged: int = 0
    packets: int = 0
    rate: int = 0
    channels: int = 0


def _hear(media: Media) -> _Heard:
    """Decode all the sound once."""
    heard = _Heard()
    media.only(media.audio)
    media.audio.codec_context.flush_buffers()
    seek_back(media, media.audio, media.origin - 1)
    for packet in media.container.demux(media.audio):
        heard.packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            heard.damaged += 1
            continue
        for frame in frames:
            time = heard.end if frame.pts is None else float(frame.pts * frame.time_base) - media.origin
            if heard.start is None:
                heard.start = time
            elif abs(time - heard.end) > JITTER_SECONDS:
                heard.gaps += 1
            heard.rate, heard.channels = frame.sample_rate, len(frame.layout.channels)
            heard.samples += frame.samples
            heard.end = time + frame.samples / frame.sample_rate
            if frame.samples:
                heard.peak = max(heard.peak, float(np.abs(to_mono(frame)).max()))
    return heard


def _audio(media: Media) -> tuple[AudioStream, _Heard]:
    heard = _hear(media)
    if heard.samples == 0 or heard.start is None:
        if heard.damaged:
            raise media.error("undecodable", f"none of {heard.packets} packets of sound could be decoded")
        raise media.error("zero-length", "the sound stream holds no samples")
    if heard.damaged > MOST_DAMAGED * heard.packets:
        raise media.error("undecodable", f"{heard.damaged} of {heard.packets} packets of sound could not be decoded")
    stream = AudioStream(
        sample_rate=heard.rate,
        channels=heard.channels,
        start=heard.start,
        duration=heard.end - heard.start,
        codec=media.audio.codec_context.name,
        peak=heard.peak,
        silent=heard.peak < SILENT_PEAK,
    )
    return stream, heard


def _check_whole(media: Media, end: float) -> None:
    """Raise "truncated" where the header of a format that knows its length promises more than there is."""
    declared = media.container.duration
    if media.format in _KNOWS_LENGTH and declared is not None and end < declared / 1e6 - CUT_OFF_SECONDS:
        raise media.error("truncated", f"the header promises {declared / 1e6:.2f} s, and the data end at {end:.2f} s")


def _flags(media: Media, video: VideoStream | None, audio: AudioStream | None, heard: _Heard | None) -> tuple[str, ...]:
    both = video is not None and audio is not None
    late = audio.start - video.start if video is not None and audio is not None else 0.0
    facts = {
        "no-video": video is None,
        "no-audio": audio is None,
        "silent": audio is not None and audio.silent,
        "rotated": video is not None and video.rotation != 0,
        "multichannel": audio is not None and audio.channels > 2,
        "odd-rate": audio is not None and audio.sample_rate not in USUAL_RATES,
        "variable-rate": video is not None and not video.constant_rate,
        "no-duration": not _promised(media),
        "wrong-extension": not _extension_fits(media),
        "late-audio": both and late > TOGETHER_SECONDS,
        "late-video": both and late < -TOGETHER_SECONDS,
        "gaps": heard is not None and heard.gaps > 0,
        "damaged": heard is not None and heard.damaged > 0,
    }
    return tuple(name for name, holds in facts.items() if holds)


def _extension_fits(media: Media) -> bool:
    usual = _ALSO_CALLED.get(media.format, set()) | set(media.container.format.extensions)
    return not usual or media.path.suffix.lower().lstrip(".") in usual
