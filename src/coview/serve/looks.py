"""What a page shows of a media file, made in a process of its own: facts, posters, whole stills, peaks of the sound.

Every function here takes a file, writes another, and imports torch only for stills.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from coview.media.container import Media, open_media, seek_back, sequential_in
from coview.media.regular import head_of
from coview.media.upright import Upright, displayed_size

POSTER, PICTURE = 320, 1600  # pixels of the longer side
PEAKS = 20  # pairs a second
_QUALITY = 80


def facts(path: Path) -> dict[str, Any]:
    """Return what decides whether a browser plays a file.

    Container, codecs, pixels' format, and whether it says to be WebM.

    Raises:
        MediaError: it is no media file.
    """
    with open_media(path) as media:
        picture, sound = media.video, media.audio
        return {
            "container": media.format,
            "webm": b"webm" in head_of(path),
            "video": picture.codec_context.name if picture else "",
            "pixels": getattr(picture.codec_context, "pix_fmt", None) or "" if picture else "",
            "audio": sound.codec_context.name if sound else "",
        }


def poster(path: Path, out: Path, second: float, flags: Sequence[str]) -> None:
    """Write the picture shown at or soon after a second as JPEG, whole and upright; of a still its only one.

    Raises:
        MediaError: it cannot be read, or has no picture.
    """
    if "still" in flags:
        picture(path, out, POSTER)
        return
    with open_media(path, sequential_in(flags)) as media:
        if media.video is None:
            raise media.error("no-video", "it has no picture")
        frame = _frame_near(media, second)
        width, height = displayed_size(media, frame)
        shown = Image.fromarray(Upright.of(frame)(frame.to_ndarray(format="rgb24")))
    scale = min(1.0, POSTER / max(width, height))
    _write_jpeg(shown.resize((max(1, round(width * scale)), max(1, round(height * scale)))), out)


def picture(path: Path, out: Path, side: int = PICTURE) -> None:
    """Write a still as JPEG, upright and at most `side` pixels long; errors as of `read_whole_still`."""
    from coview.media.stills import read_full_still

    shown = Image.fromarray(read_full_still(path))
    shown.thumbnail((side, side))
    _write_jpeg(shown, out)


def peaks(path: Path, out: Path) -> None:
    """Write the least and the greatest sample of every 1/20 s as int8 pairs, 127 for full scale.

    The first pair begins at second 0 of the recording's clock; where there is no sound, both are 0.

    Raises:
        MediaError: it cannot be read, or has no sound.
    """
    low: list[float] = []
    high: list[float] = []
    with open_media(path) as media:
        if media.audio is None:
            raise media.error("no-audio", "it has no sound")
        for at, samples in _blocks(media):
            first = int(at * PEAKS)
            if not 0 <= first <= 24 * 3600 * PEAKS:
                continue
            low.extend([0.0] * (first + 1 - len(low)))
            high.extend([0.0] * (first + 1 - len(high)))
            low[first] = min(low[first], float(samples.min()))
            high[first] = max(high[first], float(samples.max()))
    pairs = np.stack([low, high], 1) if low else np.zeros((0, 2))
    out.write_bytes(np.clip(np.nan_to_num(pairs) * 127, -127, 127).astype(np.int8).tobytes())


def _frame_near(media: Media, second: float) -> Any:
    stamp = second + media.origin
    if "video" in media.sequential or media.ordered:
        stamp = 0.0  # seeking cannot be trusted: the first picture
    else:
        seek_back(media, media.video, stamp)
    media.only(media.video)
    last = None
    for packet in media.container.demux(media.video):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            last = frame
            if frame.time is None or frame.time >= stamp:
                return frame
    if last is None:
        raise media.error("undecodable", "no picture can be decoded")
    return last


def _blocks(media: Media) -> Iterator[tuple[float, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Yield (second, samples) of mono sound, none longer than 1/20 s or across a border of them."""
    mono = av.AudioResampler(format="flt", layout="mono")
    media.only(media.audio)
    clock = 0.0
    for packet in media.container.demux(media.audio):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            clock = frame.time - media.origin if frame.time is not None else clock
            for piece in mono.resample(frame):
                samples = piece.to_ndarray()[0]
                number = np.floor((clock + np.arange(len(samples)) / piece.sample_rate) * PEAKS + 1e-6)
                for part in np.split(np.arange(len(samples)), np.flatnonzero(np.diff(number)) + 1):
                    if len(part):
                        yield (number[part[0]] + 0.5) / PEAKS, samples[part]
                clock += len(samples) / piece.sample_rate


def _write_jpeg(shown: Image.Image, out: Path) -> None:
    written = io.BytesIO()
    shown.save(written, "JPEG", quality=_QUALITY)
    out.write_bytes(written.getvalue())
