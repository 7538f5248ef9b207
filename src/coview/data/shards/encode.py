"""What is stored of one clip: its pictures as JPEG, its sound as FLAC, and what KEY.json says of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.identity import check
from coview.data.recording import Recording
from coview.data.shards.layout import PrepareSettings, describe
from coview.media import jpeg
from coview.media.container import Media, open_media, sequential_in
from coview.media.cuts import SAME_INSTANT, AudioCut, Sound, VideoCut
from coview.media.decode import Cuts, Read
from coview.media.flac import encode_flac
from coview.media.pictures import read_whole_frames, seen
from coview.media.regular import head_of
from coview.media.sounds import read_sound
from coview.media.stills import is_still, read_whole_still
from coview.media.waveform import to_float, to_int16

Span = tuple[float, float]
Picture = NDArray[np.uint8]


def encode(
    path: Path, recording: Recording, clip: int, span: Span, settings: PrepareSettings
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Return what KEY.json says, and (extension, contents) of the clip's other members in their order."""
    check(path, size=recording.bytes, modified=recording.modified, digest=recording.digest)
    about = describe(recording, clip, span)
    files: list[tuple[str, bytes]] = []
    if is_still(head_of(path)):
        return about | _store(files, [read_whole_still(path, settings.size)], 0.0, settings), files
    with open_media(path, sequential_in(recording.flags)) as media:
        if (sound := _sound(media, recording, span, settings)) is not None:
            first, samples = sound
            flac = encode_flac(samples.numpy(), settings.sample_rate)
            files.append(("flac", flac.data))
            about |= {"sample_rate": settings.sample_rate, "first_sample": first, "samples": len(samples)}
            about |= {"flac_header": flac.header, "flac_block": flac.block, "flac_frames": flac.frames}
        if (place := _pictures(recording, span, settings)) is not None:
            begin, count = place
            pictures = read_whole_frames(media, begin, range(count), settings.fps, settings.size)
            about |= _store(files, pictures, begin, settings)
    return about, files


def read_as_stored(path: Path, recording: Recording, span: Span, settings: PrepareSettings, cuts: Cuts) -> Read:
    """Return to the bit what cuts from the stored clip are, without storing it: what they show alone is decoded.

    Raises:
        MediaError: what the cuts want cannot be read; of a damaged film, other parts than `encode` refuses.
    """
    if is_still(head_of(path)):
        picture = _through(read_whole_still(path, settings.size), settings, path)
        return [(clip_of(video, [picture] * video.count) if video else None, None) for video, _ in cuts]
    with open_media(path, sequential_in(recording.flags)) as media:
        sound = _sound(media, recording, span, settings) if any(audio for _, audio in cuts) else None
        place = _pictures(recording, span, settings)

        def film(cut: VideoCut, begin: float, count: int) -> Tensor:
            wanted = numbers_of(cut, begin, count, settings.fps)
            pictures = read_whole_frames(media, begin, wanted, settings.fps, settings.size)
            return clip_of(cut, [_through(picture, settings, path) for picture in pictures])

        return [
            (film(video, *place) if video and place else None, _heard(audio, sound) if audio and sound else None)
            for video, audio in cuts
        ]


def numbers_of(cut: VideoCut, begin: float, count: int, fps: float) -> list[int]:
    """Return which of `count` stored pictures, the first at second `begin`, a cut shows."""
    shown = [math.floor((time - begin + SAME_INSTANT) * fps) for time in cut.times]
    return [min(max(number, 0), count - 1) for number in shown]


def clip_of(cut: VideoCut, pictures: Sequence[Picture]) -> Tensor:
    """Return what a cut shows of whole pictures: uint8 (3, count, size, size)."""
    out = np.empty((cut.count, cut.size, cut.size, 3), np.uint8)
    for k, picture in enumerate(pictures):
        out[k] = seen(picture, cut.size, cut.window)
    return torch.from_numpy(out).permute(3, 0, 1, 2)


def inside(cut: AudioCut, first: int, samples: int) -> tuple[int, int, int]:
    """Return which of the stored samples, from number `first` of the clock on, a cut begins at and which it has."""
    begin = round(cut.start * cut.sample_rate) - first
    return begin, max(begin, 0), min(begin + cut.samples, samples)


def _sound(media: Media, recording: Recording, span: Span, settings: PrepareSettings) -> tuple[int, Tensor] | None:
    """Return the number of the first sample and the int16 samples of a clip; None where it has no sound."""
    rate = settings.sample_rate
    # On the grid of whole samples, so that every cut begins at the same instants as one from the file.
    first = math.ceil(max(span[0], recording.audio_start) * rate - SAME_INSTANT)
    seconds = min(span[1], recording.audio_end) - first / rate
    if not recording.has_audio or recording.silent or seconds * rate < 1:
        return None
    return first, to_int16(read_sound(media, AudioCut(start=first / rate, seconds=seconds, sample_rate=rate)).waveform)


def _pictures(recording: Recording, span: Span, settings: PrepareSettings) -> tuple[float, int] | None:
    """Return the second of a clip's first picture and how many it has; None where it has none."""
    if not recording.has_video:
        return None
    # On the grid of the whole recording's frames, as the sound: one at the same rate loses none.
    whole = math.floor((max(span[0], recording.video_start) - recording.video_start + SAME_INSTANT) * settings.fps)
    begin, end = recording.video_start + whole / settings.fps, min(span[1], recording.video_end)
    count = max(1, math.ceil((end - begin) * settings.fps - SAME_INSTANT))
    return (begin, count) if end > begin else None


def _heard(cut: AudioCut, sound: tuple[int, Tensor]) -> Sound:
    first, samples = sound
    out = torch.zeros(cut.samples)
    begin, low, high = inside(cut, first, len(samples))
    if low >= high:
        return Sound(out, 0)
    out[low - begin : high - begin] = to_float(samples[low:high])
    return Sound(out, high - low)


def _through(picture: Picture, settings: PrepareSettings, path: Path) -> Picture:
    height, width = picture.shape[:2]
    return jpeg.decode(jpeg.encode(picture, settings.quality), width, height, str(path))


def _store(
    files: list[tuple[str, bytes]], pictures: list[Picture], begin: float, settings: PrepareSettings
) -> dict[str, Any]:
    """Append pictures as JPEG, each distinct one encoded once, and return what KEY.json says of them."""
    encoded = {id(picture): jpeg.encode(picture, settings.quality) for picture in pictures}
    frames = [encoded[id(picture)] for picture in pictures]
    files += [(f"{k:04d}.jpg", data) for k, data in enumerate(frames)]
    height, width = np.shape(pictures[0])[:2]
    about = {"fps": settings.fps, "picture_start": begin, "width": width, "height": height}
    return about | {"frame_bytes": [len(data) for data in frames]}
