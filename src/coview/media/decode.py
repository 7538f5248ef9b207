"""Cutting picture and sound from media files by seconds: the one door, whichever backend reads.

Frame k of a cut is the frame being shown at start + k / fps: the last one with a timestamp at or before it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from coview.errors import MediaError, UsageError
from coview.media.access import sequential_streams
from coview.media.container import Kind, Media, open_media
from coview.media.cuts import AudioCut, Clip, Crop, Sound, VideoCut
from coview.media.pictures import read_frames_of
from coview.media.regular import head_of
from coview.media.sounds import read_sound
from coview.media.stills import is_still, read_stills

Backend = Literal["pyav", "torchcodec"]
Cuts = Sequence[tuple[VideoCut | None, AudioCut | None]]
Read = list[tuple[Tensor | None, Sound | None]]


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
    return video.contiguous()


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


def read_clips(path: Path | str, cuts: Cuts, *, backend: Backend = "pyav") -> Read:
    """Read several cuts of one file, opening it once; a `Sound` also says how much of it the file really holds.

    A still picture is shown at every second and has no sound. It is read the same by every backend, as are crops and
    films that torchcodec would show at another second, mirrored or stretched.

    Raises:
        MediaError: naming the file, with a reason word.
        UsageError: the backend is unknown or cannot be used here.
    """
    crops = any(video and isinstance(video.window, Crop) for video, _ in cuts)
    if backend == "pyav" or (backend == "torchcodec" and (crops or is_still(head_of(path)))):
        return read_samples(path, [cuts])[0]
    if backend == "torchcodec":
        from coview.media import torchcodec_backend  # loads another copy of FFmpeg

        if torchcodec_backend.follows(path):
            return torchcodec_backend.read_clips(path, cuts)
        return read_samples(path, [cuts])[0]
    raise UsageError(f"there is no media backend {backend!r}; there are 'pyav' and 'torchcodec'")


def read_samples(
    path: Path | str, samples: Sequence[Cuts], *, sequential: Collection[Kind] | None = None
) -> list[Read]:
    """Read the cuts of several samples of one file, all pictures in one pass: to the bit what each alone would be.

    Args:
        sequential: the streams that seeking misplaces, as the index knows them (`sequential_in` a recording's flags);
            None looks into the file, once for each file and process.

    Raises:
        MediaError: naming the file, with a reason word; also where only one of the samples cannot be read.
    """
    if is_still(head_of(path)):
        if any(audio for cuts in samples for _, audio in cuts):
            raise MediaError(str(path), "no-audio", "sound was asked for, and the file is a still picture")
        return [_read_still(path, cuts) for cuts in samples]
    if sequential is None:
        sequential = sequential_streams(path)
    with open_media(path, sequential) as media:
        asked = [video for cuts in samples for video, _ in cuts if video]
        pictures = iter(read_frames_of(media, asked) if asked else ())
        sounds = [_read_sounds(media, samples[0])]
    # A sound decoder keeps more than a flush forgets (AAC: where its noise is), so that each sample opens its own.
    for cuts in samples[1:]:
        if any(audio for _, audio in cuts):
            with open_media(path, sequential) as media:
                sounds.append(_read_sounds(media, cuts))
        else:
            sounds.append([None] * len(cuts))
    return [
        [(next(pictures) if video else None, sound) for (video, _), sound in zip(cuts, heard, strict=True)]
        for cuts, heard in zip(samples, sounds, strict=True)
    ]


def _read_still(path: Path | str, cuts: Cuts) -> Read:
    pictures = iter(read_stills(path, [video for video, _ in cuts if video]))
    return [(next(pictures) if video else None, None) for video, _ in cuts]


def _read_sounds(media: Media, cuts: Cuts) -> list[Sound | None]:
    return [read_sound(media, audio) if audio else None for _, audio in cuts]
