"""Opening a media file defensively, choosing its streams, and the recording's clock.

The clock: second 0 is the earliest start among the chosen picture and sound streams, as their headers declare it.
Streams keep their distance, so that picture and sound cut at the same second belong together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard, Disposition

from coview.errors import MediaError

MAX_BYTES = 64 * 2**30
MAX_SECONDS = 24 * 3600.0
MAX_PIXELS = 8192 * 8192
MAX_STREAMS = 64

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
    """

    path: Path
    container: InputContainer
    video: Any
    audio: Any
    origin: float

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
def open_media(path: Path | str) -> Iterator[Media]:
    """Open a file for reading.

    Raises:
        MediaError: "missing", "unreadable", "empty", "too-large", "not-media", "truncated" or "no-streams".
    """
    path = Path(path)
    _check_file(path)
    try:
        # "file:" keeps a name such as "http:x" or "concat:a|b" from being read as anything but a file's name.
        container = av.open(f"file:{path}", options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"})
    except (av.error.FFmpegError, ValueError) as error:
        raise _unopened(path, error) from error
    with container:
        yield _choose(path, container)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise MediaError(str(path), "missing", "there is no such file")
    if not path.is_file():
        raise MediaError(str(path), "not-media", "expected a file")
    size = path.stat().st_size
    if size == 0:
        raise MediaError(str(path), "empty", "the file has 0 bytes")
    if size > MAX_BYTES:
        raise MediaError(str(path), "too-large", f"{size} bytes; at most {MAX_BYTES} are read")


def _unopened(path: Path, error: Exception) -> MediaError:
    if isinstance(error, PermissionError):
        return MediaError(str(path), "unreadable", "no permission to read the file")
    with path.open("rb") as stream:
        head = stream.read(16)
    if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
        return MediaError(
            str(path), "truncated", f"it begins like a media file, but its header is cut off or damaged ({error})"
        )
    return MediaError(str(path), "not-media", f"not a sound or picture format that is read ({error})")


def _choose(path: Path, container: InputContainer) -> Media:
    if len(container.streams) > MAX_STREAMS:
        raise MediaError(str(path), "too-large", f"{len(container.streams)} streams; at most {MAX_STREAMS} are read")
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    video = next(iter(pictures), None)
    audio = next(iter(container.streams.audio), None)
    if video is None and audio is None:
        raise MediaError(str(path), "no-streams", "the file holds neither picture nor sound")
    if video is not None:
        if video.codec_context.width * video.codec_context.height > MAX_PIXELS:
            size = f"{video.codec_context.width} x {video.codec_context.height}"
            raise MediaError(str(path), "too-large", f"frames of {size} pixels; at most {MAX_PIXELS} pixels are read")
        # One thread: more cost up to 15 % more CPU per clip, and workers already fill the cores.
        video.codec_context.thread_count = 1
    media = Media(path, container, video, audio, 0.0)
    starts = [float(s.start_time * s.time_base) for s in media.streams if s.start_time is not None]
    media.origin = min(starts, default=0.0)
    return media


def seek_back(media: Media, stream: Any, second: float) -> None:
    """Go to a packet of `stream` at or before `second` of the stream's clock, or to its first one.

    A second before the stream's start matters: an encoder's run-up lies there.
    """
    try:
        media.container.seek(math.floor(second / stream.time_base), stream=stream, backward=True)
    except av.error.PermissionError:  # how a format says that it holds nothing so early
        media.container.seek(stream.start_time or 0, stream=stream, backward=True)
