"""Probing many files in processes of their own, so that a decoder that crashes costs one file and not the index."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from coview.data.executors import Executor
from coview.data.watched import Lost, watched
from coview.errors import MediaError
from coview.media.probe import AudioStream, VideoStream, probe

# Plain data, ready for JSON: the fields of a `Recording` that a file alone decides, or its `reason` and `message`.
Outcome = dict[str, Any]

_PATIENCE, _SPEED = 300.0, 1e6  # a file may take 5 min, and 1 s for every MB: twenty times what the slowest seen took
_SHARE = 16  # files that another machine probes before it answers
_LOST = {
    "crash": "the decoder crashed on this file, twice; its process was lost",
    "timeout": "the decoder did not come to an end with this file; its process was stopped",
}


def probe_files(
    paths: Sequence[Path], workers: int | None = None, executor: Executor | None = None
) -> Iterator[tuple[Path, Outcome]]:
    """Yield (path, outcome) of every file in the order in which they are done.

    Args:
        workers: processes; None means one per core, 0 probes in this process, which a decoder that crashes ends.
        executor: what shares the files out instead, to processes that see the same paths.
    """
    if executor is not None:
        shares = [paths[first : first + _SHARE] for first in range(0, len(paths), _SHARE)]
        for found in executor.run(_probe_share, shares):
            yield from found
        return
    if workers == 0:
        yield from ((path, probe_file(path)) for path in paths)
        return
    count = min(workers or len(os.sched_getaffinity(0)), len(paths))
    for path, outcome in watched(probe_file, paths, count, _patience):
        if isinstance(outcome, Lost):
            outcome = {"reason": outcome.reason, "message": _LOST[outcome.reason]}
        yield path, outcome


def _probe_share(paths: Sequence[Path]) -> list[tuple[Path, Outcome]]:
    return list(probe_files(paths, 1))


def _patience(path: Path) -> float:
    try:
        return _PATIENCE + path.stat().st_size / _SPEED
    except (OSError, ValueError):  # the probe says why
        return _PATIENCE


def probe_file(path: Path) -> Outcome:
    """Return what one file holds, or why it cannot be read."""
    try:
        found = probe(path)
        size = path.stat().st_size
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except MediaError as error:
        return {"reason": error.reason, "message": error.message}
    except OSError as error:
        return {"reason": "unreadable", "message": error.strerror or str(error)}
    outcome: Outcome = {"end": found.duration, "bytes": size, "digest": digest, "content": found.content}
    outcome |= {"flags": list(found.flags), "caption": found.told or None}
    outcome |= {"has_video": found.video is not None, "has_audio": found.audio is not None}
    return outcome | _video_fields(found.video) | _audio_fields(found.audio)


def _video_fields(video: VideoStream | None) -> Outcome:
    if video is None:
        return {}
    names = ("width", "height", "fps", "constant_rate", "frames", "rotation", "keyframe_seconds")
    fields = {name: getattr(video, name) for name in names}
    return {**fields, "video_start": video.start, "video_end": video.start + video.duration, "video_codec": video.codec}


def _audio_fields(audio: AudioStream | None) -> Outcome:
    if audio is None:
        return {}
    fields = {name: getattr(audio, name) for name in ("sample_rate", "channels", "peak", "silent")}
    return {**fields, "audio_start": audio.start, "audio_end": audio.start + audio.duration, "audio_codec": audio.codec}
