"""The optional torchcodec backend: the same cuts by the same rules, for computers where it is faster.

torchcodec keeps each stream's own clock, so the file's origin is read by PyAV first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.errors import UsageError
from coview.media.access import sequential_streams
from coview.media.container import Media, open_media, pixel_aspect
from coview.media.cuts import SAME_INSTANT, AudioCut, Crop, Sound, VideoCut
from coview.media.sounds import MARGIN_SECONDS
from coview.media.upright import Upright


def read_clips(
    path: Path | str, cuts: Sequence[tuple[VideoCut | None, AudioCut | None]]
) -> list[tuple[Tensor | None, Sound | None]]:
    """Read several cuts of one file; see `coview.media.decode.read_clips`."""
    decoders = _decoders()
    with open_media(path) as media:
        return [
            (
                None if video is None else _frames(media, decoders, video),
                None if audio is None else _sound(media, decoders, audio),
            )
            for video, audio in cuts
        ]


def follows(path: Path | str) -> bool:
    """Tell whether torchcodec shows a file as it is meant.

    It seeks even where seeking misplaces, believes times that a container only guesses, and knows neither mirrors nor
    pixels that are not square.
    """
    if sequential_streams(path):
        return False
    with open_media(path) as media:
        if media.video is None:
            return True
        first = next(media.container.decode(media.video), None)
        plain = pixel_aspect(media) == 1 and not media.ordered
        return plain and (first is None or not Upright.of(first).mirrored)


def _decoders() -> Any:
    try:
        from torchcodec import decoders
    except (ImportError, OSError, RuntimeError) as error:  # it raises any of these where FFmpeg's libraries are absent
        raise UsageError(f"the media backend 'torchcodec' cannot be used here ({error}); use 'pyav'") from error
    return decoders


def _frames(media: Media, decoders: Any, cut: VideoCut) -> Tensor:
    if media.video is None:
        raise media.error("no-video", "a picture was asked for, and the file has sound only")
    try:
        decoder = decoders.VideoDecoder(str(media.path), stream_index=media.video.index, num_ffmpeg_threads=1)
        facts = decoder.metadata
        begin, end = facts.begin_stream_seconds, facts.end_stream_seconds
        times = [max(t + media.origin + SAME_INSTANT, begin) for t in cut.times]
        if times[0] >= end + 1 / facts.average_fps:
            message = f"the cut begins at {cut.start:.3f} s, the picture ends at {end - media.origin:.3f} s"
            raise media.error("outside", message)
        inside = [t for t in times if t < end]
        parts = [decoder.get_frames_played_at(inside).data] if inside else []
        if len(inside) < len(times):  # past the end the last frame is shown
            parts.append(decoder[-1][None].expand(len(times) - len(inside), -1, -1, -1))
        pictures = torch.cat(parts)
    except (RuntimeError, ValueError, IndexError) as error:
        raise media.error("undecodable", f"picture near {cut.start:.3f} s: {error}") from error
    height, width = pictures.shape[-2:]
    scale = cut.size / min(height, width)
    sides = (max(cut.size, round(height * scale)), max(cut.size, round(width * scale)))
    pictures = interpolate(pictures, sides, mode="bilinear", antialias=True)
    assert not isinstance(cut.window, Crop)  # PyAV reads them
    top, left = (round((side - cut.size) * cut.window) for side in sides)
    return pictures[:, :, top : top + cut.size, left : left + cut.size].transpose(0, 1).contiguous()


def _sound(media: Media, decoders: Any, cut: AudioCut) -> Sound:
    if media.audio is None:
        raise media.error("no-audio", "sound was asked for, and the file has none")
    begin = cut.start + media.origin
    try:
        decoder = decoders.AudioDecoder(str(media.path), stream_index=media.audio.index, sample_rate=cut.sample_rate)
        first = max(begin - MARGIN_SECONDS, decoder.metadata.begin_stream_seconds or 0.0)
        samples = decoder.get_samples_played_in_range(first, begin + cut.seconds + MARGIN_SECONDS)
    except (RuntimeError, ValueError, IndexError) as error:
        raise media.error("undecodable", f"sound near {cut.start:.3f} s: {error}") from error
    mono = samples.data.mean(dim=0)
    at = round((samples.pts_seconds - begin) * cut.sample_rate)
    waveform = torch.zeros(cut.samples)
    low, high = max(at, 0), min(at + len(mono), cut.samples)
    if low >= high:
        message = f"the file has no sound between {cut.start:.3f} and {cut.start + cut.seconds:.3f} s"
        raise media.error("outside", message)
    waveform[low:high] = mono[low - at : high - at]
    return Sound(waveform, high - low)
