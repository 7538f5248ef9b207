"""Sound of a cut, by PyAV: sought early, trimmed by timestamps, averaged to mono, resampled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray

from coview.media.container import Media, seek_back
from coview.media.cuts import AudioCut, Sound

Waveform = NDArray[np.float32]

# Decoded before the cut and thrown away: transform codecs overlap their blocks, and MP3 borrows bits from the past.
_PREROLL_SECONDS, _PREROLL_SAMPLES = 0.1, 2048
# Kept on both sides of the cut until it is resampled: more than half the resampler's filter.
MARGIN_SECONDS = 0.02
# Timestamps off by less are rounding of the container (Matroska counts milliseconds), not a gap.
JITTER_SECONDS = 0.02


def read_sound(media: Media, cut: AudioCut) -> Sound:
    """Decode the sound of a cut: mono float32 (samples,), full scale 1, the mean of all channels.

    Where the file has no sound in a part of the cut (before it begins, after it ends, in a gap), that part is zero and
    not counted in `valid`.

    Raises:
        MediaError: "no-audio", "outside" (the file has no sound anywhere in the cut) or "undecodable".
    """
    if media.audio is None:
        raise media.error("no-audio", "sound was asked for, and the file has none")
    begin = cut.start + media.origin
    try:
        pieces = list(_pieces(media, begin - MARGIN_SECONDS, begin + cut.seconds + MARGIN_SECONDS))
    except av.error.FFmpegError as error:
        raise media.error("undecodable", f"sound near {cut.start:.3f} s: {error}") from error
    rates = {rate for _, rate, _ in pieces}
    if len(rates) > 1:
        raise media.error("undecodable", f"the sample rate changes from one packet to the next: {sorted(rates)}")
    rate = rates.pop() if rates else int(media.audio.rate)
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


def _pieces(media: Media, begin: float, end: float) -> Iterator[tuple[float, int, Waveform]]:
    """Yield (stream second, sample rate, mono samples) of the decoded frames that may touch [begin, end)."""
    stream, seconds = media.audio, float(media.audio.time_base)
    media.only(stream)
    stream.codec_context.flush_buffers()
    early = begin - _PREROLL_SECONDS - _PREROLL_SAMPLES / (stream.rate or 8000)
    seek_back(media, stream, early)
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
            yield cursor, frame.sample_rate, to_mono(frame)
            cursor += frame.samples / frame.sample_rate


def _place(
    pieces: list[tuple[float, int, Waveform]], base: int, length: int, rate: int
) -> tuple[Waveform, NDArray[np.bool_]]:
    """Lay pieces into a buffer whose first sample is number `base` of the stream's clock; and what they covered."""
    buffer, covered = np.zeros(length, np.float32), np.zeros(length, np.bool_)
    for time, _, samples in pieces:
        at = round(time * rate) - base
        first, last = max(at, 0), min(at + len(samples), length)
        if first < last:
            buffer[first:last] = samples[first - at : last - at]
            covered[first:last] = True
    return buffer, covered
