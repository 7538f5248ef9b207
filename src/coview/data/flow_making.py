"""A collection's films with their optical flow beside them, as a collection of its own.

    FLOWN/media/00000003.mp4    the flow of the fourth recording: its track "flow" (`media.flow` says what is in it)
    FLOWN/media/00000003.json   that it is whole, or why there is none

Recordings stay what and where they are, those without motion too. Whatever reads films reads the flow beside them, on
the same clock. A stopped call goes on where it was.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coview.data.adapters import Item, Made, Options, Refused
from coview.data.collection import Collection
from coview.data.executors import Executor
from coview.data.identity import check, real_path
from coview.data.index import Progress, index_source
from coview.data.rows import COLUMNS
from coview.data.timeline import Timelines
from coview.data.watched import working_on
from coview.errors import MediaError, UsageError
from coview.files import read_json, write_aside
from coview.media.container import open_media
from coview.media.encode import write_film
from coview.media.flow import FlowSettings, Picture, flow_pictures
from coview.media.frames import every_frame
from coview.media.motion import opencv
from coview.media.pictures import Scaler

TRACK = "flow"
_PLAN = "plan.json"


@dataclass(frozen=True)
class FlowTask:
    """A film whose flow is to be computed."""

    collection: Path
    out: Path
    row: int
    settings: FlowSettings
    lost: str = ""  # how it cost a process: "crash" or "timeout"

    def without(self, row: Any, reason: str) -> FlowTask:
        """Return the task for a film whose decoder crashes or hangs: nothing but to say so."""
        return dataclasses.replace(self, lost=reason)


def make_flow(
    collection: Collection,
    out: Path,
    settings: FlowSettings,
    executor: Executor,
    workers: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Collection:
    """Write the flow of all films of a collection, and the collection `out` that has it; what is there is kept.

    Raises:
        UsageError: OpenCV is not installed, there are no films, or `out` is something else or has other settings.
    """
    opencv()
    plan = {"of": collection.fingerprint, "settings": dataclasses.asdict(settings)}
    if out.exists():
        made = Collection.open(out)
        _check(out / "media" / _PLAN, plan)
        return made

    def make(media: Path, options: Options) -> Made:
        return _made(collection, media, settings, executor, plan, options)

    return index_source(f"flow of {collection.folder.name}", out, make=make, workers=workers, progress=progress)


def _check(path: Path, plan: dict[str, Any]) -> None:
    if not path.is_file() or read_json(path, "a plan of flow") != plan:
        raise UsageError(f"{path}: there is no flow of this collection with these settings; choose another folder")


def _made(
    collection: Collection, media: Path, settings: FlowSettings, executor: Executor, plan: Any, options: Options
) -> Made:
    if (media / _PLAN).is_file():
        _check(media / _PLAN, plan)
    known = Timelines(collection.columns(COLUMNS))
    films = np.flatnonzero(known.has_video & ~known.still).tolist()
    if not films:
        raise UsageError(f"{collection.folder} has no films, and flow is what moves in them")
    write_aside(media / _PLAN, json.dumps(plan) + "\n")
    tasks = [FlowTask(collection.folder.absolute(), media.absolute(), row, settings) for row in films]
    for done, _ in enumerate(executor.run(film_flow, tasks, FlowTask.without), 1):
        options.progress(done, len(tasks))
    notes = {row: read_json(_note(media, row), "a note of a film")["problem"].partition(": ") for row in films}
    splits = collection.splits().to_pylist()
    items = [_item(collection, row, splits[row], notes.get(row), media) for row in range(len(collection))]
    bad = {row: note for row, note in notes.items() if note[0]}
    refused = [Refused(path=collection[row].path, reason=why, message=said) for row, (why, _, said) in bad.items()]
    return Made(items=items, root=media, refused=refused, report={"films": len(films), "flow": len(films) - len(bad)})


def _item(collection: Collection, row: int, split: str | None, note: tuple[str, ...] | None, media: Path) -> Item:
    one = collection[row]
    tracks = {name: collection.root / real_path(path) for name, path in one.tracks.items()}
    if note is not None and not note[0]:
        tracks[TRACK] = media / f"{row:08d}.mp4"
    return Item(
        path=collection.path(one).absolute(), id=one.id, label=one.label, split=split or None, caption=one.caption,
        group=one.group, start=one.start, end=one.end, folds=one.folds, labels=one.labels, tracks=tracks,
        flags=tuple(flag for flag in one.flags if flag == "nomirror"),
    )  # fmt: skip


def film_flow(task: FlowTask) -> int:
    """Write a film's flow, then the note that it is whole, unless it is there; returns the film's row."""
    if _note(task.out, task.row).is_file():
        return task.row
    working_on(task.row)
    problem, film = "", _opened(task.collection)[task.row]
    try:
        if task.lost:
            raise MediaError(film.path, task.lost, "its decoder crashed or did not come to an end")
        write_film(task.out / f"{task.row:08d}.mp4", flow_pictures(_pictures(task), task.settings), task.settings.fps)
    except MediaError as error:
        problem = f"{error.reason}: {error.message}"
    write_aside(_note(task.out, task.row), json.dumps({"problem": problem}) + "\n")
    return task.row


def _pictures(task: FlowTask) -> Iterator[tuple[float, Picture]]:
    collection = _opened(task.collection)
    film, number = collection[task.row], -1
    path = collection.path(film)
    check(path, size=film.bytes, modified=film.modified, digest=film.digest)
    with open_media(path) as media:
        scaled = Scaler(media, task.settings.side)
        for number, (second, frame) in enumerate(every_frame(media)):
            if number % 100 == 0:
                working_on(task.row)
            yield second, scaled(frame)
    if number < 0:
        raise MediaError(str(path), "undecodable", "none of its pictures can be decoded")


def _note(out: Path, row: int) -> Path:
    return out / f"{row:08d}.json"


@functools.lru_cache(maxsize=1)
def _opened(folder: Path) -> Collection:
    return Collection.open(folder)
