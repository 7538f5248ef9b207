"""Sound of a cut, by PyAV: sought early, trimmed by timestamps, averaged to mono, resampled.

Where seeking cannot be trusted (`Media.sequential`), everything from the file's beginning is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from numpy.typing import NDArray

from coview.media.container import Media, open_media, seek_back
from coview.media.cuts import AudioCut, Sound

Waveform = NDArray[np.float32]

# Decoded before the cut and thrown away: transform codecs overlap their blocks, and MP3 borrows bits from the past.
_PREROLL_SECONDS, _PREROLL_SAMPLES = 0.1, 2048
# Kept on both sides of the cut until it is resampled: more than half the resampler's filter.
MARGIN_SECONDS = 0.02
# Timestamps off by less are rounding of the container (Matroska counts milliseconds), not a gap.
JITTER_SECONDS = 0.02
# Hz of recorded sound, from slow sensors to bats.
RATES = (100, 1_000_000)


def read_sound(media: Media, cut: AudioCut) -> Sound:
    """Decode the sound of a cut: mono float32 (samples,), full scale 1, the mean of all channels.

    Where the file has no sound in a part of the cut (before it begins, after it ends, in a gap), that part is zero and
    not counted in `valid`.

    Raises:
        MediaError: "no-audio", "outside" (the file has no sound anywhere in the cut), "bad-rate" or "undecodable".
    """
    if media.audio is None:
        raise media.error("no-audio", "sound was asked for, and the file has none")
    begin = cut.start + media.origin
    try:
        pieces = _at_one_rate(_pieces_of(media, begin - MARGIN_SECONDS, begin + cut.seconds + MARGIN_SECONDS))
    except av.error.FFmpegError as error:
        raise media.error("undecodable", f"sound near {cut.start:.3f} s: {error}") from error
    rate = pieces[0].rate if pieces else check_rate(media, media.audio.rate or 0)
    base = int(np.floor((begin - MARGIN_SECONDS) * rate))
    buffer, covered = _place(pieces, base, round((cut.seconds + 2 * MARGIN_SECONDS) * rate) + 1, rate)
    inside = covered[round(begin * rate) - base :][: round(cut.seconds * rate)]
    valid = round(float(inside.sum()) * cut.sample_rate / rate)
    if valid == 0:
        message = f"the file has no sound between {cut.start:.3f} and {cut.start + cut.seconds:.3f} s"
        raise media.error("outside", message)
    resampled = resample(buffer, rate, cut.sample_rate)
    offset = round((begin - base / rate) * cut.sample_rate)
    waveform = np.ascontiguousarray(resampled[offset : offset + cut.samples])
    return Sound(torch.from_numpy(waveform), min(valid, cut.samples))


def resample(waveform: Waveform, rate: int, new_rate: int) -> Waveform:
    """Return a mono waveform at `new_rate` Hz; sample j of the result lies at second j / new_rate of the input."""
    if rate == new_rate:
        return waveform
    frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=new_rate)
    parts = [*resampler.resample(frame), *resampler.resample(None)]  # None flushes the filter's tail
    return np.concatenate([part.to_ndarray()[0] for part in parts])


def to_mono(frame: Any) -> Waveform:
    """Return the mean of a frame's channels, float32 (samples,), full scale 1."""
    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, len(frame.layout.channels)).T
    if data.dtype == np.uint8:
        mean = (data.mean(axis=0, dtype=np.float64) - 128) / 128
    elif np.issubdtype(data.dtype, np.integer):
        mean = data.mean(axis=0, dtype=np.float64) / -float(np.iinfo(data.dtype).min)
    else:
        mean = data.mean(axis=0) if len(data) > 1 else data[0]
    return np.asarray(mean, np.float32)


class Piece(NamedTuple):
    """Mono samples that follow each other, from a second of the stream on."""

    second: float
    rate: int
    samples: Waveform


def check_rate(media: Media, rate: int) -> int:
    """Return a sample rate that can be one.

    Raises:
        MediaError: "bad-rate".
    """
    if not RATES[0] <= rate <= RATES[1]:
        raise media.error("bad-rate", f"sound at {rate} Hz; {RATES[0]} to {RATES[1]} Hz are read")
    return rate


def checked_mono(media: Media, frame: Any, second: float) -> Waveform:
    """Return a decoded frame's mono samples, all finite; `second` is for the message.

    Raises:
        MediaError: "undecodable" or "bad-rate".
    """
    check_rate(media, frame.sample_rate)
    samples = to_mono(frame)
    if not np.isfinite(samples.sum(dtype=np.float64)):  # a sum of float32 in float64 does not overflow
        message = f"the sound near {second - media.origin:.3f} s holds samples that are not finite numbers"
        raise media.error("undecodable", message)
    return samples


def _pieces_of(media: Media, begin: float, end: float) -> list[Piece]:
    """Return what is decoded of the stream and may touch [begin, end)."""
    if "audio" not in media.sequential:
        media.only(media.audio)
        early = begin - _PREROLL_SECONDS - _PREROLL_SAMPLES / (media.audio.rate or 8000)
        seek_back(media, media.audio, early)
        return list(_pieces(media, early, begin, end))
    with open_media(media.path) as fresh:
        found = _pieces(fresh, -math.inf, begin, end)
        return [piece for piece in found if piece.second + len(piece.samples) / piece.rate >= begin]


def _pieces(media: Media, early: float, begin: float, end: float) -> Iterator[Piece]:
    """Decode from where the file stands; packets before stream second `early` are passed over."""
    stream, seconds = media.audio, float(media.audio.time_base)
    media.only(stream)
    stream.codec_context.flush_buffers()
    cursor: float | None = None
    for packet in media.container.demux(stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        time = stamp * seconds if stamp is not None else None
        if time is not None and time >= end:
            break
        if time is not None and packet.duration and time + packet.duration * seconds < early:
            continue
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if time is None or time >= begin:
                raise
            continue  # before the cut: the codec has not yet seen what it refers to
        for frame in frames:
            if frame.pts is not None:
                time = float(frame.pts * frame.time_base)
                cursor = time if cursor is None or abs(time - cursor) > JITTER_SECONDS else cursor
            elif cursor is None:
                cursor = time or 0.0
            if cursor >= end:
                return
            yield Piece(cursor, frame.sample_rate, checked_mono(media, frame, cursor))
            cursor += frame.samples / frame.sample_rate


def _at_one_rate(pieces: list[Piece]) -> list[Piece]:
    """Return pieces at the highest of their rates: some streams change theirs on the way."""
    rate = max((piece.rate for piece in pieces), default=0)
    if all(piece.rate == rate for piece in pieces):
        return pieces
    runs: list[Piece] = []  # a run is resampled as a whole: between its pieces the filter must see both sides
    for piece in pieces:
        last = runs[-1] if runs else None
        if last and last.rate == piece.rate and abs(last.second + len(last.samples) / last.rate - piece.second) < 1e-3:
            runs[-1] = Piece(last.second, last.rate, np.concatenate([last.samples, piece.samples]))
        else:
            runs.append(piece)
    return [Piece(run.second, rate, resample(run.samples, run.rate, rate)) for run in runs]


def _place(pieces: list[Piece], base: int, length: int, rate: int) -> tuple[Waveform, NDArray[np.bool_]]:
    """Lay pieces into a buffer whose first sample is number `base` of the stream's clock; and what they covered."""
    buffer, covered = np.zeros(length, np.float32), np.zeros(length, np.bool_)
    for second, _, samples in pieces:
        at = round(second * rate) - base
        first, last = max(at, 0), min(at + len(samples), length)
        if first < last:
            buffer[first:last] = samples[first - at : last - at]
            covered[first:last] = True
    return buffer, covered
