"""A piece of a recording for people, as near to the file's own quality as a page can carry."""

from __future__ import annotations

from pathlib import Path

from coview.media.container import open_media
from coview.media.cuts import AudioCut, Excerpt, VideoCut
from coview.media.decode import read_clip
from coview.media.regular import head_of
from coview.media.stills import is_still

_FASTEST = 25.0  # frames per second
_RATES = (16000, 22050, 24000, 32000, 44100, 48000)  # of sound that is left as it is; others become the last


def read_excerpt(path: Path | str, start: float, end: float, seconds: float, side: int) -> Excerpt:
    """Read the middle `seconds` of what a file holds from `start` to `end`, all of it where that is shorter.

    Pictures are the square in the middle, `side` pixels wide or as wide as the film, at the film's own rate up to 25
    per second; sound is one channel at the file's own rate. A still picture is one frame.

    Raises:
        MediaError: the file cannot be read.
    """
    if is_still(head_of(path)):
        frames = read_clip(path, VideoCut(start=0, count=1, fps=1, size=side), None).video
        return Excerpt(frames, 1.0, None, None, 0.0, 0.0)
    with open_media(path) as media:
        picture, sound = media.video, media.audio
        fps = min(float(getattr(picture, "average_rate", None) or _FASTEST), _FASTEST)
        short = 0 if picture is None else min(picture.width, picture.height)
        rate = None if sound is None else sound.rate if sound.rate in _RATES else _RATES[-1]
    whole = end - start
    shown = min(whole, seconds)
    begin = start + (whole - shown) / 2
    size = max(2, min(side, short) // 2 * 2)  # H.264 wants it even
    video = VideoCut(start=begin, count=max(1, round(shown * fps)), fps=fps, size=size) if short else None
    audio = AudioCut(start=begin, seconds=shown, sample_rate=rate) if rate and shown > 0 else None
    clip = read_clip(path, video, audio)
    return Excerpt(clip.video, fps if short else None, clip.audio, rate if audio else None, shown, whole)
