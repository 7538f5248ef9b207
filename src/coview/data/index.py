"""Indexing: probe every file once, in parallel, and write what was found as a collection.

Nothing is lost on the way: a file that is seen becomes a recording, a row of the quarantine table, or is counted as
ignored. Results are noted in a side file as they come, and a second call goes on where a stopped one ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from coview.data.adapters import Item, Made, Options, Refused, is_adapter, load_adapter
from coview.data.adapters.folder import make_folder
from coview.data.collection import Collection, write_tables
from coview.data.manifest import EXTENSIONS, make_manifest
from coview.data.probing import Outcome, probe_files
from coview.data.recording import Recording
from coview.errors import UsageError

Progress = Callable[[str, int, int], None]


def index_source(
    source: str,
    out: Path,
    *,
    labels_from_folders: bool = False,
    options: Options | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Collection:
    """Write the collection of a folder, a manifest or a named data set, and return it.

    The work is done in the folder `<out>.partial`, which takes the name `out` when it is complete; when it is stopped
    it stays, and the next call reuses every result whose file still has the same path, size and time.

    Args:
        source: folder, manifest (.csv, .jsonl, .parquet) or adapter's name such as "tuxpaint" or "digits-av:A".
        out: the collection's folder.
        labels_from_folders: label every recording of a folder by the name of the folder it lies in.
        options: for a named data set.
        workers: probing processes; None means one per core, 0 probes in this process.
        overwrite: replace a collection that is already there.
        progress: called with (what is being done, done, total).

    Raises:
        UsageError: there is no such source, `out` exists, or two recordings have one id.
    """
    if out.exists() and not overwrite:
        raise UsageError(f"{out} already exists; choose another name, or pass --overwrite to make it anew")
    if out.exists() and not (out / "collection.json").is_file():
        raise UsageError(f"{out} is not a collection and will not be overwritten; choose another name")
    partial = out.with_name(out.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    made = _items(source, partial, labels_from_folders, options or Options(), progress)
    paths = list(dict.fromkeys(_absolute(made.root, item) for item in made.items))
    found = dict(_probe_all(paths, partial / "probed.jsonl", workers, progress))

    recordings: list[Recording] = []
    refused = list(made.refused)
    for item in made.items:
        outcome = _recording(item, made.root, found[_absolute(made.root, item)])
        if isinstance(outcome, Recording):
            recordings.append(outcome)
        else:
            refused.append(outcome)
    inside = made.root.resolve().is_relative_to(partial.resolve())
    root = made.root.resolve().relative_to(partial.resolve()) if inside else made.root.resolve()
    about = {
        "source": source,
        "root": root.as_posix(),
        "ignored": dict(made.ignored),
        "report": dict(made.report),
    }
    write_tables(partial, _flag_copies(recordings), refused, about)
    if out.exists():
        shutil.rmtree(out)
    (partial / "probed.jsonl").unlink(missing_ok=True)
    partial.rename(out)
    return Collection.open(out)


def _items(source: str, partial: Path, labels: bool, options: Options, progress: Progress) -> Made:
    path = Path(source)
    if path.is_dir():
        return make_folder(path, labels)
    if labels:
        raise UsageError("--labels-from-folders is for a folder; a manifest gives labels in its column 'label'")
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        return make_manifest(path)
    if path.exists():
        raise UsageError(f"{path}: expected a folder or a manifest ({', '.join(EXTENSIONS)})")
    if not is_adapter(source) and ("/" in source or path.suffix):
        raise UsageError(f"{source}: there is no such folder or manifest")
    media = partial / "media"
    make = load_adapter(source)
    media.mkdir(exist_ok=True)
    made = make(media, _with(options, source, progress))
    if not any(media.iterdir()):
        media.rmdir()
    return made


def _with(options: Options, source: str, progress: Progress) -> Options:
    return Options(
        variant=source.partition(":")[2],
        folder=options.folder,
        count=options.count,
        seed=options.seed,
        progress=lambda done, total: progress("making", done, total),
    )


def _absolute(root: Path, item: Item) -> Path:
    return Path(os.path.normpath(root.absolute() / item.path))  # links keep their own names


def _probe_all(
    paths: list[Path], side: Path, workers: int | None, progress: Progress
) -> Iterator[tuple[Path, Outcome]]:
    """Yield what every path holds, from the side file where it is known already."""
    known = _read_side(side)
    stamps = {path: _stamp(path) for path in paths}
    todo = [path for path in paths if known.get(str(path), {}).get("stamp") != stamps[path]]
    for path in paths:
        if known.get(str(path), {}).get("stamp") == stamps[path]:
            yield path, known[str(path)]["outcome"]
    done = len(paths) - len(todo)
    progress("probing", done, len(paths))
    with side.open("a", encoding="utf-8") as stream:
        for path, outcome in probe_files(todo, workers):
            # Written through at once: what was probed before a kill is not probed again.
            stream.write(json.dumps({"path": str(path), "stamp": stamps[path], "outcome": outcome}) + "\n")
            stream.flush()
            done += 1
            progress("probing", done, len(paths))
            yield path, outcome


def _read_side(side: Path) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    if not side.is_file():
        return known
    whole = [line for line in side.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    for line in whole:  # a line without an end was being written when the index was stopped
        entry = json.loads(line)
        known[entry["path"]] = entry
    side.write_text("".join(whole), encoding="utf-8")
    return known


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError:  # the probe says why
        return []
    return [stat.st_size, stat.st_mtime_ns]


def _recording(item: Item, root: Path, outcome: Outcome) -> Recording | Refused:
    path = _absolute(root, item)
    # Kept absolute where the file lies elsewhere, so that the table alone says where it is.
    name = Path(os.path.relpath(path, root.absolute()))
    relative = path.as_posix() if ".." in name.parts else name.as_posix()
    if "reason" in outcome:
        return Refused(path=relative, reason=outcome["reason"], message=outcome["message"])
    fields = dict(outcome)
    start, end = item.start or 0.0, min(item.end or fields["end"], fields["end"])
    if start >= end and (start, fields["end"]) != (0.0, 0.0):  # a still lasts 0 s
        message = f"the span begins at {start} s, but the file ends at {fields['end']:.3f} s"
        return Refused(path=relative, reason="outside", message=message)
    flags = tuple(dict.fromkeys((*fields.pop("flags"), *item.flags)))
    known: dict[str, str | None] = {"id": item.id or _default_id(relative, item), "path": relative}
    known |= {"label": item.label, "split": item.split, "caption": item.caption, "group": item.group}
    rest = {"start": start, "end": end, "duration": end - start, "flags": flags, "folds": item.folds}
    return Recording(**{**fields, **known, **rest})


def _default_id(relative: str, item: Item) -> str:
    """Return the path with its extension: film.mp4 and film.wav beside each other are two recordings."""
    return (
        relative if item.start is None and item.end is None else f"{relative}@{item.start or 0:g}-{item.end or 'end'}"
    )


def _flag_copies(recordings: list[Recording]) -> list[Recording]:
    """Flag recordings whose file has the bytes of another file: a copy in two splits would be a leak."""
    holders = Counter(digest for digest, _ in {(recording.digest, recording.path) for recording in recordings})
    return [
        dataclasses.replace(recording, flags=(*recording.flags, "copy")) if holders[recording.digest] > 1 else recording
        for recording in recordings
    ]
