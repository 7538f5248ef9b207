"""Writing a clip as MP4: H.264 picture and AAC sound, in time with each other.

H.264 is written by libx264 where FFmpeg has it (PyAV's wheel has; it is GPL), else by libopenh264; where neither is
there, the picture is MPEG-4 Part 2 of FFmpeg's own encoder, which coview and most players read, but no browser shows.
"""

from __future__ import annotations

import functools
import itertools
import os
import warnings
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from coview.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_ENCODERS = ("libx264", "libopenh264", "mpeg4")
_PRESET = "veryfast"
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_SOUND_BITS = 96000
_BITS_PER_PIXEL = 0.5
_BLOCK = 1024  # samples per AAC frame
# The clock of the written picture: exact for every whole rate, and for 29.97 (3003 ticks a frame).
_CLOCK = 90000
_MPEG4_CLOCK = 60000  # as exact; MPEG-4 counts to 65535


def write_clip(
    path: Path | str,
    frames: Tensor | None,
    fps: float | None,
    waveform: Tensor | None,
    sample_rate: int | None,
    *,
    crf: int = 23,
    times: Tensor | None = None,
) -> None:
    """Write frames uint8 (3, T, H, W), RGB, and a mono waveform float (samples,), full scale 1, into an MP4 file.

    Either may be None. H and W must be even. Frame k is shown from k / fps seconds, or from `times[k]` (float (T,),
    increasing) for a variable rate. The encoder's delay of 1,024 samples is written as an edit list, so that sample j
    is heard at j / sample_rate on reading. The file appears under its name only when it is complete. `crf` is libx264's
    constant quality, which other encoders do not have.

    Raises:
        UsageError: nothing to write, odd frame sides, a wrong type or rate, or samples that are not finite.
    """
    path = Path(path)
    _check(frames, fps, waveform, sample_rate)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with av.open(f"file:{part}", "w", format="mp4") as container:
            # All streams exist before the first packet: the header is written with it.
            picture = None if frames is None else _picture_stream(container, frames.shape[2:], fps, crf)
            sound = None if waveform is None else _sound_stream(container, sample_rate)
            if frames is not None:
                _write_frames(container, picture, frames, _seconds(frames.shape[1], fps, times))
            if waveform is not None:
                _write_sound(container, sound, waveform)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_film(path: Path, pictures: Iterable[tuple[float, NDArray[np.uint8]]], fps: float, *, crf: int = 12) -> None:
    """Write (second, picture (H, W, 3), RGB, H and W even) one by one, as they come, into an MP4 file without sound.

    The film has the first picture's size, and pictures of another are scaled to it. It appears when it is complete.

    Raises:
        UsageError: there is no picture.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    rest = iter(pictures)
    if (first := next(rest, None)) is None:
        raise UsageError(f"{path}: a film needs a picture")
    try:
        with av.open(f"file:{part}", "w", format="mp4") as container:
            stream = _picture_stream(container, first[1].shape[:2], fps, crf)
            for second, picture in itertools.chain([first], rest):
                _write_frame(container, stream, second, picture)
            container.mux(stream.encode(None))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _check(frames: Tensor | None, fps: float | None, waveform: Tensor | None, sample_rate: int | None) -> None:
    if frames is None and waveform is None:
        raise UsageError("a clip needs frames or a waveform")
    if frames is not None:
        if str(frames.dtype) != "torch.uint8" or frames.ndim != 4 or frames.shape[0] != 3 or frames.shape[1] == 0:
            raise UsageError(f"frames must be uint8 (3, T, H, W), found {frames.dtype} {tuple(frames.shape)}")
        if frames.shape[2] % 2 or frames.shape[3] % 2:
            raise UsageError(f"H.264 needs even sides, found {tuple(frames.shape[2:])}")
        if fps is None or fps <= 0:
            raise UsageError(f"frames need a rate, found fps={fps}")
    if waveform is not None:
        if waveform.ndim != 1 or not waveform.is_floating_point() or not bool(waveform.isfinite().all()):
            raise UsageError(f"a waveform must be finite floats (samples,), found {waveform.dtype} {waveform.shape}")
        if sample_rate not in AAC_RATES:
            raise UsageError(f"AAC has the sample rates {', '.join(map(str, AAC_RATES))} Hz, found {sample_rate}")


@functools.cache
def picture_encoder() -> str:
    """Return the name of the encoder that pictures are written with here; warns once where it is not libx264.

    Raises:
        UsageError: FFmpeg has none of them.
    """
    name = next((name for name in _ENCODERS if name in av.codec.codecs_available and _can_encode(name)), None)
    if name is None:
        raise UsageError(f"FFmpeg has none of the encoders {', '.join(_ENCODERS)} here; install PyAV from its wheel")
    if name != _ENCODERS[0]:
        warnings.warn(f"FFmpeg has no {_ENCODERS[0]} here: clips are written by {name}", stacklevel=2)
    return name


def _can_encode(name: str) -> bool:
    try:
        return av.Codec(name, "w").is_encoder
    except ValueError:  # it can only decode
        return False


def _picture_stream(container: Any, size: Sequence[int], fps: float | None, crf: int) -> Any:
    rate, encoder = Fraction(fps or 25).limit_denominator(1001), picture_encoder()
    options = {"preset": _PRESET, "crf": str(crf)} if encoder == _ENCODERS[0] else {}
    stream = container.add_stream(encoder, rate=rate, options=options)
    stream.height, stream.width = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _MPEG4_CLOCK if encoder == "mpeg4" else _CLOCK)
    stream.codec_context.thread_count = 1
    if encoder != _ENCODERS[0]:  # they know no constant quality: bits by the pixel, plenty
        stream.bit_rate = max(100_000, round(size[0] * size[1] * float(rate) * _BITS_PER_PIXEL))
    return stream


def _sound_stream(container: Any, sample_rate: int | None) -> Any:
    # The encoder's default search leaves errors of .4 of full scale at onsets; "fast" follows the wave.
    stream = container.add_stream("aac", rate=sample_rate, layout="mono", options={"aac_coder": "fast"})
    stream.bit_rate = _SOUND_BITS
    stream.codec_context.time_base = Fraction(1, sample_rate or 1)
    return stream


def _seconds(count: int, fps: float | None, times: Tensor | None) -> list[float]:
    if times is None:
        return [k / (fps or 1) for k in range(count)]
    seconds = [float(time) for time in times]
    if len(seconds) != count or any(b - a < 1 / _MPEG4_CLOCK for a, b in itertools.pairwise(seconds)):
        raise UsageError(f"times must be {count} increasing seconds, one per frame")
    return seconds


def _write_frames(container: Any, stream: Any, frames: Tensor, seconds: list[float]) -> None:
    pictures = np.ascontiguousarray(frames.permute(1, 2, 3, 0).cpu().numpy())
    for second, picture in zip(seconds, pictures, strict=True):
        _write_frame(container, stream, second, picture)
    container.mux(stream.encode(None))


def _write_frame(container: Any, stream: Any, second: float, picture: NDArray[np.uint8]) -> None:
    base = stream.codec_context.time_base
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.pts, frame.time_base = round(second * base.denominator), base
    container.mux(stream.encode(frame))


def _write_sound(container: Any, stream: Any, waveform: Tensor) -> None:
    samples = waveform.detach().cpu().float().clamp(-1, 1).numpy()
    for at in range(0, len(samples), _BLOCK):
        frame = av.AudioFrame.from_ndarray(samples[None, at : at + _BLOCK], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = stream.rate, at, Fraction(1, stream.rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
