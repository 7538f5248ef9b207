"""Probing many files in processes of their own, so that a decoder that crashes costs one file and not the index."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from coview.data.processes import fresh_processes
from coview.errors import MediaError
from coview.media.probe import AudioStream, VideoStream, probe

# Plain data, ready for JSON: the fields of a `Recording` that a file alone decides, or its `reason` and `message`.
Outcome = dict[str, Any]


def probe_files(paths: Sequence[Path], workers: int | None = None) -> Iterator[tuple[Path, Outcome]]:
    """Yield (path, outcome) of every file in the order in which they are done.

    Args:
        workers: processes; None means one per core, 0 probes in this process.
    """
    if workers == 0 or len(paths) < 2:
        yield from ((path, probe_file(path)) for path in paths)
        return
    waiting = iter(paths)
    while suspects := (yield from _in_pool(waiting, min(workers or os.cpu_count() or 1, len(paths)))):
        for path in suspects:  # one of them ended its process: alone, it ends only its own
            if (yield from _in_pool(iter([path]), 1)):
                yield path, {"reason": "crash", "message": "the decoder crashed on this file; its process was lost"}


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
    outcome |= {"flags": list(found.flags)}
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


def _in_pool(waiting: Iterator[Path], workers: int) -> Generator[tuple[Path, Outcome], None, list[Path]]:
    """Yield outcomes; when a process dies, return the paths whose outcomes were lost, and leave the rest waiting."""
    pool = ProcessPoolExecutor(workers, mp_context=fresh_processes(), initializer=_start_worker)
    running: dict[Future[Outcome], Path] = {}
    lost: list[Path] = []
    try:
        while True:
            # A short queue: what is stopped is stopped soon.
            while len(running) < 2 * workers and not lost and (path := next(waiting, None)) is not None:
                running[pool.submit(probe_file, path)] = path
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                path = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    lost.append(path)
                    continue
                yield path, outcome
    finally:
        pool.shutdown(wait=not running, cancel_futures=True)
    return lost


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent
