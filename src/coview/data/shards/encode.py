"""What is stored of one clip: its pictures as JPEG, its sound as FLAC, and what KEY.json says of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coview.data.identity import check
from coview.data.recording import Recording
from coview.data.shards.layout import PrepareSettings, describe
from coview.media import jpeg
from coview.media.container import open_media, sequential_in
from coview.media.cuts import SAME_INSTANT, AudioCut
from coview.media.flac import encode_flac
from coview.media.pictures import read_whole_frames
from coview.media.regular import head_of
from coview.media.sounds import read_sound
from coview.media.stills import is_still, read_whole_still
from coview.media.waveform import to_int16


def encode(
    path: Path, recording: Recording, clip: int, span: tuple[float, float], settings: PrepareSettings
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Return what KEY.json says, and (extension, contents) of the clip's other members in their order."""
    check(path, size=recording.bytes, modified=recording.modified, digest=recording.digest)
    about = describe(recording, clip, span)
    files: list[tuple[str, bytes]] = []
    if is_still(head_of(path)):
        return about | _store(files, [read_whole_still(path, settings.size)], 0.0, settings), files
    with open_media(path, sequential_in(recording.flags)) as media:
        if recording.has_audio and not recording.silent:
            rate = settings.sample_rate
            # On the grid of whole samples, so that every cut begins at the same instants as one from the file.
            first = math.ceil(max(span[0], recording.audio_start) * rate - SAME_INSTANT)
            seconds = min(span[1], recording.audio_end) - first / rate
            if seconds * rate >= 1:
                sound = read_sound(media, AudioCut(start=first / rate, seconds=seconds, sample_rate=rate))
                flac = encode_flac(to_int16(sound.waveform).numpy(), rate)
                files.append(("flac", flac.data))
                about |= {"sample_rate": rate, "first_sample": first, "samples": len(sound.waveform)}
                about |= {"flac_header": flac.header, "flac_block": flac.block, "flac_frames": flac.frames}
        if recording.has_video:
            # On the grid of the whole recording's frames, as the sound: one at the same rate loses none.
            whole = math.floor(
                (max(span[0], recording.video_start) - recording.video_start + SAME_INSTANT) * settings.fps
            )
            begin, end = recording.video_start + whole / settings.fps, min(span[1], recording.video_end)
            count = max(1, math.ceil((end - begin) * settings.fps - SAME_INSTANT))
            if end > begin:
                pictures = read_whole_frames(media, begin, count, settings.fps, settings.size)
                about |= _store(files, pictures, begin, settings)
    return about, files


def _store(
    files: list[tuple[str, bytes]], pictures: list[NDArray[np.uint8]], begin: float, settings: PrepareSettings
) -> dict[str, Any]:
    """Append pictures as JPEG, each distinct one encoded once, and return what KEY.json says of them."""
    encoded = {id(picture): jpeg.encode(picture, settings.quality) for picture in pictures}
    frames = [encoded[id(picture)] for picture in pictures]
    files += [(f"{k:04d}.jpg", data) for k, data in enumerate(frames)]
    height, width = np.shape(pictures[0])[:2]
    about = {"fps": settings.fps, "picture_start": begin, "width": width, "height": height}
    return about | {"frame_bytes": [len(data) for data in frames]}
