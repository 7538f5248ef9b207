"""What the files of an index hold, noted as it comes: what was known before a kill is not found out again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from coview.data.executors import Executor
from coview.data.probing import Outcome, probe_files
from coview.data.recording import TrackFile
from coview.errors import MediaError
from coview.files import sha256_of, write_aside
from coview.media.regular import check_file

_FORMAT = 3  # of what is noted; other notes are not used


def probe_all(
    paths: list[Path],
    side: Path,
    workers: int | None,
    progress: Callable[[str, int, int], None],
    executor: Executor | None = None,
) -> Iterator[tuple[Path, Outcome]]:
    """Yield (path, what it holds) of every file, from the side file where it is known already."""
    known = _read_side(side)
    stamps = {path: _stamp(path) for path in paths}
    todo = [path for path in paths if known.get(str(path), {}).get("stamp") != stamps[path]]
    for path in set(paths) - set(todo):
        yield path, known[str(path)]["outcome"]
    done = len(paths) - len(todo)
    progress("probing", done, len(paths))
    with side.open("a", encoding="utf-8") as stream:
        for path, outcome in probe_files(todo, workers, executor):
            if "reason" not in outcome and _stamp(path) != stamps[path]:
                outcome = {"reason": "changed", "message": "the file was changed while it was read; index again"}
            elif "reason" not in outcome:
                outcome["modified"] = stamps[path][1]
            # Written through at once: what was probed before a kill is not probed again.
            entry = {"format": _FORMAT, "path": str(path), "stamp": stamps[path], "outcome": outcome}
            stream.write(json.dumps(entry) + "\n")
            stream.flush()
            done += 1
            progress("probing", done, len(paths))
            yield path, outcome


def _read_side(side: Path) -> dict[str, dict[str, Any]]:
    """Return the notes by path, and leave only whole ones: the last was being written when the index was stopped."""
    known: dict[str, dict[str, Any]] = {}
    if not side.is_file():
        return known
    for line in side.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            if entry["format"] == _FORMAT and isinstance(entry["outcome"], dict):
                known[entry["path"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    write_aside(side, "".join(json.dumps(entry) + "\n" for entry in known.values()))
    return known


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except (OSError, ValueError):  # the probe says why
        return []
    return [stat.st_size, stat.st_mtime_ns]


def track_files(paths: Mapping[str, Path]) -> tuple[dict[str, TrackFile], list[tuple[str, str, str]]]:
    """Return what is known of the files of tracks, and (track, reason, message) of those that cannot be read."""
    found: dict[str, TrackFile] = {}
    lacking = []
    for track, path in paths.items():
        try:
            facts = check_file(path)
            found[track] = TrackFile(bytes=facts.st_size, modified=facts.st_mtime_ns, digest=sha256_of(path))
        except MediaError as error:
            lacking.append((track, error.reason, error.message))
        except OSError as error:
            lacking.append((track, "unreadable", error.strerror or str(error)))
    return found, lacking
