"""Cutting picture and sound from media files by seconds: the one door, whichever backend reads.

Frame k of a cut is the frame being shown at start + k / fps: the last one with a timestamp at or before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from coview.errors import UsageError
from coview.media.container import open_media
from coview.media.cuts import AudioCut, Clip, Sound, VideoCut
from coview.media.pictures import read_frames
from coview.media.sounds import read_sound

Backend = Literal["pyav", "torchcodec"]


def read_video(
    path: Path | str, start: float, count: int, fps: float, size: int, window: float = 0.5, *, backend: Backend = "pyav"
) -> Tensor:
    """Read `count` frames at `fps` from second `start`: uint8 (3, count, size, size), RGB.

    The short side is scaled to `size`; of the long side the square at fraction `window` (0 to 1) is kept. Past the last
    frame the last is repeated.

    Raises:
        MediaError: naming the file, with a reason word.
    """
    cut = VideoCut(start=start, count=count, fps=fps, size=size, window=window)
    video = read_clip(path, cut, None, backend=backend).video
    assert video is not None
    return video


def read_audio(
    path: Path | str, start: float, seconds: float, sample_rate: int, *, backend: Backend = "pyav"
) -> Tensor:
    """Read mono sound from second `start`: float32 (samples,), full scale 1; zero where the file has no sound.

    Raises:
        MediaError: naming the file, with a reason word; "outside" where the file has no sound in the whole cut.
    """
    cut = AudioCut(start=start, seconds=seconds, sample_rate=sample_rate)
    audio = read_clip(path, None, cut, backend=backend).audio
    assert audio is not None
    return audio


def read_clip(path: Path | str, video: VideoCut | None, audio: AudioCut | None, *, backend: Backend = "pyav") -> Clip:
    """Read a cut of picture and a cut of sound of one file, opening it once; None for what is not asked.

    Raises:
        MediaError: naming the file, with a reason word.
    """
    frames, sound = read_clips(path, [(video, audio)], backend=backend)[0]
    return Clip(frames, None if sound is None else sound.waveform)


def read_clips(
    path: Path | str, cuts: Sequence[tuple[VideoCut | None, AudioCut | None]], *, backend: Backend = "pyav"
) -> list[tuple[Tensor | None, Sound | None]]:
    """Read several cuts of one file, opening it once; a `Sound` also says how much of it the file really holds.

    Raises:
        MediaError: naming the file, with a reason word.
        UsageError: the backend is unknown or cannot be used here.
    """
    if backend == "pyav":
        with open_media(path) as media:
            return [
                (read_frames(media, video) if video else None, read_sound(media, audio) if audio else None)
                for video, audio in cuts
            ]
    if backend == "torchcodec":
        from coview.media.torchcodec_backend import read_clips as read_with_torchcodec

        return read_with_torchcodec(path, cuts)
    raise UsageError(f"there is no media backend {backend!r}; there are 'pyav' and 'torchcodec'")
