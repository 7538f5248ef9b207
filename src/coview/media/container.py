"""Opening a media file defensively, choosing its streams, and the recording's clock.

The clock: second 0 is the earliest start among the chosen picture and sound streams, as their headers declare it.
Streams keep their distance, so that picture and sound cut at the same second belong together.

The boundary: decoders raise what they like on damaged files (TypeError, ZeroDivisionError, IndexError were seen).
Whatever is raised while a file is open leaves `open_media` as a `MediaError` that names the file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import av
from av.container import InputContainer
from av.stream import Discard, Disposition

from coview.errors import CoviewError, MediaError
from coview.media.regular import check_file, head_of
from coview.media.told import LENIENT

Kind = Literal["video", "audio"]
KINDS: tuple[Kind, ...] = ("video", "audio")

MAX_SECONDS = 24 * 3600.0
MAX_PIXELS = 8192 * 8192
MAX_STREAMS = 64
NARROW = 100  # long side / short side, from which scaling makes no picture but a bomb

# Bare streams without times, which cannot be sought; and what numbers its frames as they are stored, not as shown.
_UNTIMED = frozenset({"h264", "hevc", "m4v", "mpegvideo"})
_ORDERED = _UNTIMED | {"avi"}

# Only formats that hold sound or picture themselves: playlists could name other files, and text is not a film.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,wav,w64,aiff,au,caf,flac,mp3,aac,ac3,"
    "eac3,dts,amr,wv,ape,tta,gif,mxf,nut,dv,m4v,h264,hevc,ivf,rm,mjpeg,swf,vob,live_flv,loas,tak,opus"
)
# (position, bytes) by which a damaged file can still be told from one that never was a recording.
_SIGNATURES = (
    *((4, mark) for mark in (b"ftyp", b"moov", b"mdat")),
    *((0, mark) for mark in (b"\x1aE\xdf\xa3", b"OggS", b"RIFF", b"fLaC", b"FLV\x01", b"ID3", b"FORM", b"GIF8")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
)


@dataclass
class Media:
    """An open file with its chosen streams (PyAV objects, None where there is none) and its clock.

    Attributes:
        origin: where second 0 of the recording's clock lies on the streams' own clock, in seconds.
        sequential: the streams that seeking is known to misplace; they are read from the file's beginning.
        ordered: the picture's frames carry no times of showing: the k-th that the decoder gives is shown at the k-th
            of the stored times.
    """

    path: Path
    container: InputContainer
    video: Any
    audio: Any
    origin: float
    sequential: frozenset[Kind] = frozenset()
    ordered: bool = False

    @property
    def format(self) -> str:
        """First name of the demuxer that recognised the file, such as "mov" or "matroska"."""
        return self.container.format.name.split(",")[0]

    @property
    def streams(self) -> list[Any]:
        """The chosen streams that exist."""
        return [stream for stream in (self.video, self.audio) if stream is not None]

    def only(self, stream: Any) -> None:
        """Make the demuxer drop the packets of every other stream unread."""
        for other in self.container.streams:
            other.discard = Discard.default if other is stream else Discard.all

    def error(self, reason: str, message: str) -> MediaError:
        """Return the error that names this file."""
        return MediaError(str(self.path), reason, message)


@contextmanager
def open_media(path: Path | str, sequential: Collection[Kind] = ()) -> Iterator[Media]:
    """Open a file for reading.

    Args:
        sequential: streams without random access, as `Probe.sequential` says.

    Raises:
        MediaError: "missing", "unreadable", "empty", "too-large", "too-narrow", "not-media", "truncated", "no-streams";
            "undecodable" for whatever else is raised before the file is closed.
    """
    path = Path(path)
    check_file(path)
    with boundary(path):
        try:
            # "file:" keeps a name such as "http:x" or "concat:a|b" from being read as anything but a file's name.
            options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
            container = av.open(f"file:{path}", options=options, **LENIENT)
        except (av.error.FFmpegError, ValueError) as error:
            raise _unopened(path, error) from error
        with container:
            yield _choose(path, container, frozenset(sequential))


def sequential_in(flags: Collection[str]) -> frozenset[Kind]:
    """Return the streams that a recording's flags say are to be read from the file's beginning."""
    return frozenset(kind for kind in KINDS if f"sequential-{kind}" in flags)


@contextmanager
def boundary(path: Path) -> Iterator[None]:
    """Turn whatever is raised inside into a `MediaError` that names the file and the type of what was raised."""
    try:
        yield
    except CoviewError:
        raise
    except PermissionError as error:
        raise MediaError(str(path), "unreadable", "no permission to read the file") from error
    except MemoryError as error:
        raise MediaError(str(path), "too-large", "there is not enough memory to decode the file") from error
    except Exception as error:
        raise MediaError(str(path), "undecodable", f"the decoder failed ({type(error).__name__}: {error})") from error


def _unopened(path: Path, error: Exception) -> MediaError:
    if isinstance(error, PermissionError):
        return MediaError(str(path), "unreadable", "no permission to read the file")
    head, said = head_of(path), getattr(error, "strerror", None) or error  # without number and path
    if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
        return MediaError(
            str(path), "truncated", f"it begins like a media file, but its header is cut off or damaged ({said})"
        )
    return MediaError(str(path), "not-media", f"not a sound or picture format that is read ({said})")


def _choose(path: Path, container: InputContainer, sequential: frozenset[Kind]) -> Media:
    if len(container.streams) > MAX_STREAMS:
        raise MediaError(str(path), "too-large", f"{len(container.streams)} streams; at most {MAX_STREAMS} are read")
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    video = next((s for s in pictures if s.codec_context is not None), None)
    audio = next((s for s in container.streams.audio if s.codec_context is not None), None)
    if video is None and audio is None:
        raise MediaError(str(path), "no-streams", "the file holds neither picture nor sound that can be decoded")
    media = Media(path, container, video, audio, 0.0, sequential)
    if video is not None:
        check_size(media, video.codec_context.width, video.codec_context.height)
        # One thread: more cost up to 15 % more CPU per clip, and workers already fill the cores.
        video.codec_context.thread_count = 1
    media.ordered = media.format in _ORDERED
    if media.format in _UNTIMED:
        media.sequential |= {"video"}
    starts = [float(s.start_time * s.time_base) for s in media.streams if s.start_time is not None]
    media.origin = min(starts, default=0.0)
    return media


def pixel_aspect(media: Media) -> float:
    """Return a pixel's width / height, as the container says, or else the codec."""
    for holder in (media.video, media.video.codec_context):
        aspect = holder.sample_aspect_ratio
        if aspect:
            return float(aspect)
    return 1.0


def check_size(media: Media, width: int, height: int) -> None:
    """Refuse frames of `width` x `height` stored pixels that are too large, or shown too narrow.

    Raises:
        MediaError: "too-large" or "too-narrow".
    """
    if width * height > MAX_PIXELS:
        raise media.error("too-large", f"frames of {width} x {height} pixels; at most {MAX_PIXELS} pixels are read")
    shown = sorted((max(1, round(width * pixel_aspect(media))), max(1, height)))
    if width and shown[1] > NARROW * shown[0]:
        size = f"frames are shown as {max(1, round(width * pixel_aspect(media)))} x {height} pixels"
        raise media.error("too-narrow", f"{size}; at most {NARROW} times as long as wide is read")


def seek_back(media: Media, stream: Any, second: float) -> None:
    """Go to a packet of `stream` at or before `second` of the stream's clock, or to its first one.

    A second before the stream's start matters: an encoder's run-up lies there.
    """
    try:
        media.container.seek(math.floor(second / stream.time_base), stream=stream, backward=True)
    except av.error.PermissionError:  # how a format says that it holds nothing so early
        media.container.seek(stream.start_time or 0, stream=stream, backward=True)
