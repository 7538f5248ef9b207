"""Indexing: probe every file once, in parallel, and write what was found as a collection.

Nothing is lost on the way: a file that is seen becomes a recording, a row of the quarantine table, or is counted as
ignored. Results are noted in a side file as they come, and a second call goes on where a stopped one ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from coview.data.adapters import Item, Made, Options, Refused, check_adapter, load_adapter
from coview.data.adapters.folder import make_folder
from coview.data.collection import Collection, write_tables
from coview.data.executors import Executor
from coview.data.identity import kept_name
from coview.data.leaks import Known, compare, named_by_captions
from coview.data.manifest import EXTENSIONS, make_manifest
from coview.data.parts import share_out
from coview.data.probed import probe_all, track_files
from coview.data.probing import Outcome
from coview.data.processes import fresh_processes
from coview.data.recording import SPLITS, Recording, split_of
from coview.data.words import alike, word_of
from coview.errors import UsageError, shown
from coview.files import is_leftover, locked, synced, write_aside

_MARK = "made-of.json"  # what a stopped call made its files of
Progress = Callable[[str, int, int], None]
Make = Callable[[Path, Options], Made]


def index_source(
    source: str,
    out: Path,
    *,
    labels_from_folders: bool = False,
    options: Options | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    make: Make | None = None,
    progress: Progress = lambda what, done, total: None,
    executor: Executor | None = None,
) -> Collection:
    """Write the collection of a folder, a manifest or a named data set, and return it.

    The work is done in the folder `<out>.partial`, which takes the name `out` when it is complete; when it is stopped
    it stays, and the next call reuses every result whose file still has the same path, size and time.

    Args:
        source: folder, manifest (.csv, .jsonl, .parquet) or adapter's name such as "tuxpaint" or "digits-av:A".
        out: the collection's folder.
        labels_from_folders: label every recording of a folder by the name of the folder it lies in.
        options: for a named data set; of a folder, whether links that lead out of it are followed.
        workers: probing processes; None means one per core, 0 probes in this process.
        overwrite: replace a collection that is already there.
        make: what makes the recordings, as an adapter does; `source` is then a name of what they are made of.
        progress: called with (what is being done, done, total).
        executor: probes instead of processes of this computer; all must see the same paths.

    Raises:
        UsageError: there is no such source, `out` exists, two recordings have one id, or another process works there.
    """
    _check_out(out, overwrite)
    if workers != 0:
        fresh_processes()  # a script that may start none is told before anything is written
    options = options or Options()
    # What needs no folder of its own is found out before one is made: a call that fails leaves nothing.
    made = None if make is not None else _found(source, labels_from_folders, options)
    partial = out.with_name(out.name + ".partial")
    with _new_folder(partial), locked(partial, "index"):
        _check_out(out, overwrite)  # it may have been finished meanwhile
        for leftover in filter(is_leftover, partial.iterdir()):
            if leftover.name != ".lock":
                leftover.unlink()
        if made is None:
            made = _made(make or load_adapter(source), source, partial, options, progress)
        _check_ids(made)
        paths = list(dict.fromkeys(_absolute(made.root, item) for item in made.items))
        found = dict(probe_all(paths, partial / "probed.jsonl", workers, progress, executor))
        recordings, refused = _join(made, found)
        recordings, parts = share_out(recordings)
        about = {
            "source": shown(source),
            "root": kept_name(_root(made, partial)),
            "ignored": dict(made.ignored),
            "report": dict(made.report),
            "parts": parts,
            "notes": [*made.notes, *_notes(recordings)],
        }
        write_tables(partial, recordings, refused, about)
        _take_place(partial, out)
    return Collection.open(out)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise UsageError(f"{out} already exists; choose another name, or pass --overwrite to make it anew")
    if out.exists() and not (out / "collection.json").is_file():
        raise UsageError(f"{out} is not a collection and will not be overwritten; choose another name")


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; when what follows fails and leaves it empty, remove what was made."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # not empty: what was done is kept
            for place in new:
                place.rmdir()
        raise


def _take_place(partial: Path, out: Path) -> None:
    """Give the finished folder its name; what was there is whole until then."""
    before = out.with_name(f".{out.name}.{os.getpid()}.partial")
    if out.exists():
        out.rename(before)
    partial.rename(out)
    synced(out.parent)
    for name in ("probed.jsonl", _MARK):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(before, ignore_errors=True)


def _found(source: str, labels: bool, options: Options) -> Made | None:
    """Return what a folder or a manifest holds; None for a named data set, which needs a folder to work in."""
    path = Path(source)
    if path.is_dir():
        return make_folder(path, labels, options.follow_links)
    if labels:
        raise UsageError("--labels-from-folders is for a folder; a manifest gives labels in its column 'label'")
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        return make_manifest(path)
    if path.exists():
        raise UsageError(f"{path}: expected a folder or a manifest ({', '.join(EXTENSIONS)})")
    check_adapter(source)
    return None


def _made(make: Make, source: str, partial: Path, options: Options, progress: Progress) -> Made:
    media, mark = partial / "media", partial / _MARK
    now = _made_of(source, options)
    if media.exists() and not (mark.is_file() and mark.read_text(encoding="utf-8") == now):
        shutil.rmtree(media)  # a stopped call made it of something else; adapters keep what is there
    write_aside(mark, now)
    progressing = dataclasses.replace(
        options, variant=source.partition(":")[2], progress=lambda done, total: progress("making", done, total)
    )
    try:
        with _new_folder(media):
            made = make(media, progressing)
    finally:
        if not media.exists():
            mark.unlink()
    if not any(media.iterdir()):
        media.rmdir()
    return made


def _made_of(source: str, options: Options) -> str:
    """Return in a line what recordings are made of: the source, the seed, and what lies in its folder, not below."""
    found = []
    if options.folder is not None:
        for path in sorted(options.folder.glob("*")):  # below it there may be millions, and folders tell their changes
            with contextlib.suppress(OSError):  # gone meanwhile, or a link that leads nowhere
                state = path.stat()
                found.append((kept_name(path), state.st_size, state.st_mtime_ns))
    digest = hashlib.sha256(json.dumps(found).encode()).hexdigest()
    return json.dumps([shown(source), options.seed, kept_name(options.folder or Path()), digest])


def _root(made: Made, partial: Path) -> Path:
    root, inside = made.root.resolve(), partial.resolve()
    return root.relative_to(inside) if root.is_relative_to(inside) else root


def _absolute(root: Path, item: Item) -> Path:
    return Path(os.path.normpath(root.absolute() / item.path))  # links keep their own names


def _relative(root: Path, path: Path) -> Path:
    """Return a path from the root; as it is where it lies elsewhere, so that the table alone says where it is."""
    name = Path(os.path.relpath(path, root.absolute()))
    return path if ".." in name.parts else name


def _check_ids(made: Made) -> None:
    """Return when all ids differ; found out before anything is probed."""
    known: dict[str, Path] = {}
    for item in made.items:
        name = _id(item, made.root)
        if name in known:
            raise UsageError(
                f"two recordings have the id {name!r}: {known[name]} and {item.path}; give the ids in a manifest, "
                "or rename one of the files"
            )
        known[name] = item.path


def _id(item: Item, root: Path) -> str:
    """Return the id, by default the path with its extension: film.mp4 and film.wav beside each other are two."""
    if item.id is not None:
        return item.id
    name = kept_name(_relative(root, _absolute(root, item)))
    return name if item.start is None and item.end is None else f"{name}@{item.start or 0:g}-{item.end or 'end'}"


def _join(made: Made, found: dict[Path, Outcome]) -> tuple[list[Recording], list[Refused]]:
    """Return what the items became, given what their files hold."""
    recordings: list[Recording] = []
    refused = list(made.refused)
    for item in made.items:
        outcome = _recording(item, made.root, found[_absolute(made.root, item)], refused)
        if isinstance(outcome, Recording):
            recordings.append(outcome)
        else:
            refused.append(outcome)
    return _flag_copies(recordings), refused


def _recording(item: Item, root: Path, outcome: Outcome, refused: list[Refused]) -> Recording | Refused:
    name = kept_name(_relative(root, _absolute(root, item)))
    if "reason" in outcome:
        return Refused(path=name, reason=outcome["reason"], message=outcome["message"])
    fields = dict(outcome)
    start, end = item.start or 0.0, min(item.end or fields["end"], fields["end"])
    if start >= end and (start, fields["end"]) != (0.0, 0.0):  # a still lasts 0 s
        message = f"the span begins at {start} s, but the file ends at {fields['end']:.3f} s"
        return Refused(path=name, reason="outside", message=message)
    known = {"id": _id(item, root), "path": name, "label": item.label, "split": item.split}
    known |= {"caption": item.caption or _as_word(fields.pop("caption", None)), "group": item.group}
    flags = tuple(dict.fromkeys((*fields.pop("flags"), *item.flags)))
    files, lacking = track_files({track: Path(root, path) for track, path in item.tracks.items()})
    tracks = {track: kept_name(_relative(root, Path(root, item.tracks[track]).absolute())) for track in files}
    for track, reason, message in lacking:
        path = kept_name(_relative(root, Path(root, item.tracks[track]).absolute()))
        refused.append(Refused(path=path, reason=reason, message=f"track {track!r} of {known['id']}: {message}"))
        flags += (f"no-{track}",)
    rest = {"start": start, "end": end, "duration": end - start, "flags": flags, "folds": item.folds}
    rest |= {"labels": item.labels}
    return Recording(**{**fields, **known, **rest, "tracks": tracks, "track_files": files})


def _as_word(told: str | None) -> str | None:
    """Return what a file says of itself as a caption; None for what is no text."""
    try:
        return word_of(told)
    except ValueError:
        return None


def _flag_copies(recordings: list[Recording]) -> list[Recording]:
    """Flag recordings whose file has the bytes of another file: a copy in two splits would be a leak."""
    holders = Counter(digest for digest, _ in {(row.digest, row.path) for row in recordings})
    return [
        dataclasses.replace(row, flags=(*row.flags, "copy")) if holders[row.digest] > 1 else row for row in recordings
    ]


def _notes(recordings: list[Recording]) -> list[str]:
    """Return sentences about what may make figures false: parts that share files, telling captions, classes alike."""
    notes = alike(row.label for row in recordings)
    telling = named_by_captions((row.path, row.caption) for row in recordings)
    if telling:
        captions = sum(row.caption is not None for row in recordings)
        notes.append(
            f"{len(telling)} of {captions} captions are names of their own files, such as {telling[0]}: they say which "
            "file it is, not what is in it"
        )
    given = any(row.split for row in recordings)
    parts = {name: [row for row in recordings if _split(row, given) == name] for name in SPLITS}
    for one, two in itertools.combinations([name for name in SPLITS if parts[name]], 2):
        overlap = compare(_known(one, parts[one]), _known(two, parts[two]))
        if overlap:
            notes.append(overlap.sentence())
    return notes


def _split(row: Recording, given: bool) -> str | None:
    return row.split if given else split_of(row.group or row.id)


def _known(name: str, rows: list[Recording]) -> Known:
    return Known(name, [row.id for row in rows], [row.digest for row in rows], [row.content for row in rows])
