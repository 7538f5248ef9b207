"""Which files browsers play as they are, by what is in them; never by their names, nor by what a browser claims."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Flags of recordings whose clock or picture a browser may show otherwise than coview reads it.
_ODD = {"rotated", "mirrored", "late-audio", "late-video", "gaps", "damaged", "cut-off", "rate-changes", "lost-video"}
_ODD |= {"sequential-video", "sequential-audio"}
_PCM = {"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le"}
# (container, picture codecs, sound codecs, type with picture, type of sound alone)
_RULES = (
    ("mov", {"h264"}, {"aac", "mp3", "mp3float"}, "video/mp4", "audio/mp4"),
    ("matroska", {"vp8", "vp9", "av1", "libdav1d"}, {"opus", "vorbis", "libopus"}, "video/webm", "audio/webm"),
    ("mp3", set[str](), {"mp3", "mp3float"}, "", "audio/mpeg"),
    ("wav", set[str](), _PCM, "", "audio/wav"),
    ("flac", set[str](), {"flac"}, "", "audio/flac"),
    ("ogg", set[str](), {"opus", "vorbis", "flac", "libopus"}, "", "audio/ogg"),
)


def media_type(facts: Mapping[str, Any], flags: Collection[str]) -> tuple[str, str]:
    """Return the type to serve a file as, or "" where a copy is needed; and why it is, for people.

    Args:
        facts: as `looks.facts` returns them.
        flags: of the recording.
    """
    if odd := sorted(_ODD & set(flags)):
        return "", f"its file is {', '.join(odd)}, which browsers show in different ways"
    video, audio = str(facts["video"]), str(facts["audio"])
    for container, videos, audios, shown, heard in _RULES:
        if facts["container"] == container and (not video or video in videos) and (not audio or audio in audios):
            if container == "matroska" and not facts["webm"]:
                break
            if video == "h264" and facts["pixels"] not in ("yuv420p", "yuvj420p"):
                return "", f"browsers do not show H.264 with pixels of the kind {facts['pixels']}"
            return (shown if video else heard), ""
    streams = " and ".join(filter(None, [video, audio]))
    return "", f"not every browser plays {streams} in a file of the kind {facts['container']}"
