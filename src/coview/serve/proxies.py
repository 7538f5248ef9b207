"""A copy of a recording that every browser plays: H.264 and AAC in MP4, at most 360 lines, on the recording's clock."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import VideoReformatter

from coview.media.container import Media, open_media
from coview.media.encode import picture_encoder
from coview.media.upright import Upright, displayed_size

LINES = 360
MOST_SECONDS = 600.0  # of a copy; what is longer is shown that far
_CLOCK = 90000
_RATE = 48000  # Hz


def proxy(path: Path, out: Path, flags: Sequence[str]) -> None:
    """Write the copy; second 0 of it is second 0 of the recording, and a stream that begins late begins late.

    Raises:
        MediaError: the file cannot be read.
    """
    with (
        open_media(path) as media,
        av.open(f"file:{out}", "w", format="mp4", options={"movflags": "+faststart"}) as made,
    ):
        sound = None
        if media.audio is not None:
            sound = made.add_stream("aac", rate=_RATE, layout="stereo")
            sound.bit_rate = 128_000
        writer = _Pictures(media, made) if media.video is not None and "lost-video" not in flags else None
        if writer is None and sound is None:
            raise media.error("no-streams", "it holds neither picture nor sound")
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE)
        wanted = [s for s, there in ((media.video, writer), (media.audio, sound)) if there is not None]
        ended: set[int] = set()
        for packet in media.container.demux(wanted):
            if packet.stream.index in ended:
                continue
            for frame in _decoded(packet):
                second = None if frame.time is None else frame.time - media.origin
                if second is not None and second >= MOST_SECONDS:
                    ended.add(packet.stream.index)
                    break
                if packet.stream is media.video and writer is not None:
                    writer.write(frame, second)
                elif sound is not None:
                    _write_sound(made, sound, resampler, frame, second)
            if len(ended) == len(wanted):
                break
        if writer is not None:
            writer.end()
        if sound is not None:
            for piece in resampler.resample(None):
                made.mux(sound.encode(piece))
            made.mux(sound.encode(None))


def _decoded(packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except av.error.InvalidDataError:  # one damaged packet leaves the others
        return []


def _write_sound(made: Any, sound: Any, resampler: Any, frame: Any, second: float | None) -> None:
    if second is not None:
        frame.pts, frame.time_base = round(second * frame.sample_rate), Fraction(1, frame.sample_rate)
    for piece in resampler.resample(frame):
        made.mux(sound.encode(piece))


class _Pictures:
    """The picture stream of a copy; its size is that of the first frame."""

    def __init__(self, media: Media, made: Any) -> None:
        self._media, self._made, self._last = media, made, -1
        self._scaler = VideoReformatter()
        rate = media.video.average_rate or media.video.guessed_rate or 25
        self._step = 1 / float(rate)
        encoder = picture_encoder()
        options = {"preset": "veryfast", "crf": "28"} if encoder == "libx264" else {}
        self._stream = made.add_stream(encoder, rate=Fraction(rate).limit_denominator(1001), options=options)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._stream.codec_context.thread_count = 1
        self._size: tuple[int, int] | None = None

    def write(self, frame: Any, second: float | None) -> None:
        width, height = displayed_size(self._media, frame)
        if self._size is None:
            scale = min(1.0, LINES / min(width, height))
            self._size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
            self._stream.width, self._stream.height = self._size
        how = Upright.of(frame)
        if how != Upright():
            frame = av.VideoFrame.from_ndarray(how(frame.to_ndarray(format="rgb24")), format="rgb24")
        shown = self._scaler.reformat(frame, *self._size, format="yuv420p")
        at = self._last + round(self._step * _CLOCK) if second is None else round(second * _CLOCK)
        self._last = max(at, self._last + 1, 0)
        shown.pts, shown.time_base, shown.pict_type = self._last, Fraction(1, _CLOCK), 0
        self._made.mux(self._stream.encode(shown))

    def end(self) -> None:
        self._made.mux(self._stream.encode(None))
