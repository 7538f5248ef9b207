"""Tracks of a collection's films as a collection of their own: each is a recording, its first patch the picture.

    TRACKS/media/00000003/00012-first.jpg   what a box held at its beginning: the recording's own picture
    TRACKS/media/00000003/00012-last.jpg    and at its end: the recording's track "last"
    TRACKS/media/tracks.parquet             id, film, seconds and boxes of both
    TRACKS/media/tracks.jpg                 a sheet of some, to look at

A track's group is its film (or its film's group), and it belongs to the part, and has the label, of its film. What was
found in a film is noted when all of it is written, so that a stopped call goes on where it was.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from coview.data.adapters import Item, Made, Options, Refused
from coview.data.collection import Collection
from coview.data.executors import Executor
from coview.data.index import Progress, index_source
from coview.data.recording import Recording
from coview.data.tables import read_table, write_table
from coview.data.track_sheet import write_sheet
from coview.data.watched import working_on
from coview.errors import MediaError, UsageError
from coview.files import read_json, write_aside, written_whole
from coview.media.container import open_media
from coview.media.frames import every_frame
from coview.media.motion import opencv
from coview.media.pictures import Scaler
from coview.media.track_finding import Frame, Track, TrackSettings, find_tracks
from coview.media.upright import displayed_size

_TABLE, _SHEET, _PLAN = "tracks.parquet", "tracks.jpg", "plan.json"
_QUALITY = 95  # of JPEG
_BOX = pa.list_(pa.int64())
SCHEMA = pa.schema([
    pa.field("id", pa.string(), nullable=False), pa.field("film", pa.string(), nullable=False),
    pa.field("start", pa.float64(), nullable=False), pa.field("end", pa.float64(), nullable=False),
    pa.field("first", _BOX, nullable=False), pa.field("last", _BOX, nullable=False),
])  # fmt: skip


@dataclass(frozen=True)
class FilmTask:
    """A film whose tracks are to be found."""

    collection: Path
    out: Path
    row: int
    settings: TrackSettings
    lost: str = ""  # how it cost a process: "crash" or "timeout"

    def without(self, row: Any, reason: str) -> FilmTask:
        """Return the task for a film whose decoder crashes or hangs: nothing but to say so."""
        return dataclasses.replace(self, lost=reason)


def mine_tracks(
    collection: Collection,
    out: Path,
    settings: TrackSettings,
    executor: Executor,
    workers: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Collection:
    """Write the tracks of all films of a collection as the collection `out`, and return it; what is there is kept.

    Pictures without motion, and films too short for a track, are counted in the report: `about["report"]` holds films,
    tracks, and `skipped`, how many moments gave none and why (`find_tracks`; "short": a whole film).

    Raises:
        UsageError: OpenCV is not installed, `out` is something else or has other settings, or there are no tracks.
    """
    opencv()
    plan = {"of": collection.fingerprint, "settings": dataclasses.asdict(settings)}
    if out.exists():
        made = Collection.open(out)
        _check(out / "media" / _PLAN, plan)
        return made

    def make(media: Path, options: Options) -> Made:
        return _mine(collection, media, settings, executor, plan, options)

    return index_source(f"tracks of {collection.folder.name}", out, make=make, workers=workers, progress=progress)


def _check(path: Path, plan: dict[str, Any]) -> None:
    if not path.is_file() or read_json(path, "a plan of tracks") != plan:
        raise UsageError(f"{path}: there are no tracks of this collection with these settings; choose another folder")


def _mine(
    collection: Collection, media: Path, settings: TrackSettings, executor: Executor, plan: Any, options: Options
) -> Made:
    if (media / _PLAN).is_file():
        _check(media / _PLAN, plan)
    write_aside(media / _PLAN, json.dumps(plan) + "\n")
    films = [row for row, there in enumerate(collection.column("has_video")) if there]
    tasks = [FilmTask(collection.folder.absolute(), media.absolute(), row, settings) for row in films]
    for done, _ in enumerate(executor.run(mine_film, tasks, FilmTask.without), 1):
        options.progress(done, len(tasks))
    notes = {row: read_json(_note(media, row), "notes of a film") for row in films}
    skipped: Counter[str] = Counter()
    for note in notes.values():
        skipped.update(note["skipped"])
    splits, items, rows = collection.splits().to_pylist(), list[Item](), list[dict[str, Any]]()
    for row, note in notes.items():
        film = collection[row]
        items += _items(film, splits[row], row, note["tracks"])
        rows += [{"id": _id(film, track), "film": film.id, **track} for track in note["tracks"]]
    problems = {row: note["problem"].partition(": ") for row, note in notes.items() if note["problem"]}
    if not items:
        why = ", ".join(f"{count} {reason}" for reason, count in skipped.most_common())
        bad = f"; {len(problems)} films could not be read" if problems else ""
        raise UsageError(
            f"{collection.folder}: no tracks were found in its {len(films)} films (moments left out: "
            f"{why or 'none'}){bad}; tracks are of what moves by itself while the camera is still or slow"
        )
    write_table(pa.Table.from_pylist(rows, schema=SCHEMA), media / _TABLE)
    pairs = [(str(item.id), media / item.path, media / item.tracks["last"]) for item in items]
    write_sheet(media / _SHEET, pairs)
    refused = [Refused(path=collection[row].path, reason=why, message=said) for row, (why, _, said) in problems.items()]
    report = {"films": len(films), "tracks": len(items), "skipped": dict(sorted(skipped.items()))}
    return Made(items=items, root=media, refused=refused, report=report)


def _items(film: Recording, split: str | None, row: int, tracks: Sequence[dict[str, Any]]) -> Iterator[Item]:
    for number, track in enumerate(tracks):
        first, last = (Path(f"{row:08d}/{number:05d}-{end}.jpg") for end in ("first", "last"))
        yield Item(
            path=first, id=_id(film, track), label=film.label, split=split or None, group=film.group or film.id,
            flags=tuple(flag for flag in film.flags if flag == "nomirror"), labels=film.labels, tracks={"last": last},
        )  # fmt: skip


def _id(film: Recording, track: dict[str, Any]) -> str:
    return f"{film.id}@{track['start']:.3f}"


def read_tracks(folder: Path) -> pa.Table:
    """Return the table of a collection of tracks: columns id, film, start, end (s), and the boxes first, last.

    Raises:
        UsageError: the folder is no collection of tracks.
    """
    if not (folder / "media" / _TABLE).is_file():
        raise UsageError(f"{folder} is no collection of tracks; `coview prepare COLLECTION --tracks` makes one")
    return read_table(folder / "media" / _TABLE, SCHEMA, remedy="make the tracks again")


def mine_film(task: FilmTask) -> int:
    """Write the patches of a film's tracks, then the note of them, unless it is there; returns the film's row."""
    if _note(task.out, task.row).is_file():
        return task.row
    working_on(task.row)
    film, skipped, tracks, problem = _opened(task.collection)[task.row], Counter[str](), list[dict[str, Any]](), ""
    try:
        if task.lost:
            raise MediaError(film.path, task.lost, "its decoder crashed or did not come to an end")
        if film.duration < task.settings.seconds + task.settings.look:
            skipped["short"] += 1
        else:
            found = find_tracks(_frames(task, film), task.settings, skipped)
            tracks = [_written(track, task.out / f"{task.row:08d}", number) for number, track in enumerate(found)]
    except MediaError as error:
        problem, tracks = f"{error.reason}: {error.message}", []
    note = {"tracks": tracks, "skipped": skipped, "problem": problem}
    write_aside(_note(task.out, task.row), json.dumps(note) + "\n")
    return task.row


def _frames(task: FilmTask, film: Recording) -> Iterator[Frame]:
    """Yield the frames of a film's span, whose pictures are made when they are asked for."""
    with open_media(_opened(task.collection).path(film)) as media:
        small = Scaler(media, task.settings.side)
        for number, (second, frame) in enumerate(every_frame(media)):
            if number % 100 == 0:
                working_on(task.row)
            if second >= film.end:
                return
            if second >= film.start:
                whole = Scaler(media, min(displayed_size(media, frame)))
                yield second, functools.partial(small, frame), functools.partial(whole, frame)


def _written(track: Track, folder: Path, number: int) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    for end, patch in (("first", track.first), ("last", track.last)):
        with written_whole(folder / f"{number:05d}-{end}.jpg") as aside:
            Image.fromarray(patch).save(aside, "JPEG", quality=_QUALITY)
    seconds = {"start": round(track.start, 6), "end": round(track.end, 6)}
    return seconds | {"first": list(track.first_box), "last": list(track.last_box)}


def _note(out: Path, row: int) -> Path:
    return out / f"{row:08d}.json"


@functools.lru_cache(maxsize=1)
def _opened(folder: Path) -> Collection:
    return Collection.open(folder)
