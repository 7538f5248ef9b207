"""Preparing: recordings decoded once, at training rate and size, into tar shards; every shard is a task of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import math
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from coview.data.checks import read_about
from coview.data.collection import Collection
from coview.data.executors import Executor
from coview.data.shards.checks import read_tables
from coview.data.shards.encode import encode
from coview.data.shards.layout import (
    CARD,
    CLIP_SCHEMA,
    CLIPS,
    FORMAT,
    RECORDINGS,
    PrepareSettings,
    shard_name,
    spans,
)
from coview.data.tables import fingerprint_of, read_table, write_table
from coview.data.watched import working_on
from coview.errors import MediaError, UsageError, shown
from coview.files import is_leftover, locked, sha256_of, write_aside, written_whole
from coview.parallel import is_main, world_size

Progress = Callable[[int, int], None]
_MENDABLE = ("gone", "changed", "missing", "unreadable", "crash", "timeout")  # reasons that another day may not have


@dataclass(frozen=True)
class ShardTask:
    """Rows [first, last) of a collection, to be written as one shard."""

    collection: Path
    out: Path
    index: int
    first: int
    last: int
    settings: PrepareSettings
    skip: tuple[tuple[int, str], ...] = ()  # rows that cost a process each, and how: "crash" or "timeout"

    def without(self, row: Any, reason: str) -> ShardTask:
        """Return the task without a recording whose decoder crashes or hangs."""
        return dataclasses.replace(self, skip=(*self.skip, (row, reason)))


def prepare(
    collection: Collection,
    out: Path,
    settings: PrepareSettings,
    executor: Executor,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Write the prepared copy of a whole collection and return its card; what is there already and whole is kept.

    A copy that is complete is looked at again: shards that are lacking or too short, tables that were changed, and
    recordings whose files could not be found or read then are made anew.

    With an executor whose processes each see their own tasks only, the one that finds all shards complete writes the
    card; the others return one with "complete" false.

    Args:
        progress: called with (shards done, shards).

    Raises:
        UsageError: the folder holds something else, a copy made with other settings, or another process's work.
    """
    count = math.ceil(len(collection) / settings.recordings_per_shard)
    card = _enter(collection, out, settings, count)
    with locked(out, "prepare") if is_main() else contextlib.nullcontext():
        return _prepare(collection, out, settings, executor, progress, card)


def _prepare(
    collection: Collection,
    out: Path,
    settings: PrepareSettings,
    executor: Executor,
    progress: Progress,
    card: dict[str, Any],
) -> dict[str, Any]:
    count = int(card["shards"])
    if card["complete"]:
        lacking = [k for k in range(count) if not is_whole(out, k) or _can_be_mended(out, k)]
        if not lacking and _tables_are_whole(out, card):
            progress(count, count)
            return card
        card = {**card, "complete": False}
        write_aside(out / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
        for k in lacking:
            _table(out, k).unlink(missing_ok=True)
    elif world_size() == 1:
        for leftover in out.iterdir():
            if is_leftover(leftover) and leftover.name != ".lock":
                leftover.unlink()
    step, rows = settings.recordings_per_shard, len(collection)
    tasks = [
        ShardTask(collection.folder.absolute(), out.absolute(), k, k * step, min((k + 1) * step, rows), settings)
        for k in range(count)
    ]
    # All of them, whatever is there: processes that started at different times must share out the same list.
    for done, _ in enumerate(executor.run(write_shard, tasks, ShardTask.without), 1):
        progress(done, count)
    if not all(is_whole(out, task.index) for task in tasks):
        return card
    return _finish(collection, out, card, count)


def write_shard(task: ShardTask) -> int:
    """Write one shard, tar first and table last, unless both are there; returns its index."""
    if is_whole(task.out, task.index):
        return task.index
    collection = _opened(task.collection)
    notes: list[dict[str, Any]] = []
    path = task.out / shard_name(task.index)
    skip = dict(task.skip)
    with written_whole(path) as aside, tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in range(task.first, task.last):
            recording = collection[row]
            for clip, span in enumerate(spans(recording, task.settings)):
                note = {"row": row, "id": recording.id, "clip": clip, "start": span[0], "end": span[1]}
                working_on(row)
                try:
                    if row in skip:
                        raise MediaError(recording.path, skip[row], "its decoder crashed or did not come to an end")
                    about, files = encode(collection.path(recording), recording, clip, span, task.settings)
                except MediaError as error:
                    notes.append({**note, "problem": f"{error.reason}: {error.message}"})
                    continue
                notes.append({**note, "shard": task.index, **add_clip(tar, f"{row:08d}-{clip:02d}", about, files)})
    write_table(pa.Table.from_pylist(notes, schema=CLIP_SCHEMA), _table(task.out, task.index))
    return task.index


def is_whole(out: Path, index: int) -> bool:
    """Tell whether a shard's table is there and its tar reaches to the end of the last clip."""
    try:
        table = read_table(_table(out, index), CLIP_SCHEMA, remedy="")
        ends = pc.max(pc.add(table.column("offset"), table.column("bytes"))).as_py() or 0
        return (out / shard_name(index)).stat().st_size > ends
    except (UsageError, OSError):
        return False


def _can_be_mended(out: Path, index: int) -> bool:
    """Tell whether some recording of a shard could not be read for a reason that may have gone."""
    problems = read_table(_table(out, index), CLIP_SCHEMA, remedy="").column("problem").to_pylist()
    return any(problem and problem.partition(":")[0] in _MENDABLE for problem in problems)


def _tables_are_whole(out: Path, card: Mapping[str, Any]) -> bool:
    try:
        read_tables(out, card)
    except UsageError:
        return False
    return True


def add_clip(tar: tarfile.TarFile, key: str, about: dict[str, Any], files: list[tuple[str, bytes]]) -> dict[str, int]:
    """Append the members of a clip and return where they are."""
    first, text = tar.offset, json.dumps(about, ensure_ascii=False).encode()
    for name, data in [("json", text), *files]:
        info = tarfile.TarInfo(f"{key}.{name}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return {"offset": first, "bytes": tar.offset - first, "json_bytes": len(text)}


def _enter(collection: Collection, out: Path, settings: PrepareSettings, count: int) -> dict[str, Any]:
    """Return the card in the folder, after checking that it is of the same work, or a new one."""
    plan = {
        "format": FORMAT,
        "source": shown(collection.folder.name),
        "source_fingerprint": collection.fingerprint,
        "settings": dataclasses.asdict(settings),
        "shards": count,
        "root": ".",
        "classes": collection.classes,
    }
    path = out / CARD
    if path.is_file():
        kinds = {"complete": bool, "settings": dict, "classes": list, "shards": int}
        card = read_about(path, (FORMAT,), kinds, "remove the folder, and prepare again")
        differing = [name for name in plan if card.get(name) != json.loads(json.dumps(plan[name]))]
        if differing:
            raise UsageError(
                f"{out} holds a copy with another {', '.join(differing)}; remove it or choose another name"
            )
        return card
    if out.exists() and not all(map(is_leftover, out.iterdir())):
        raise UsageError(f"{out} is not empty and holds no prepared copy; choose another name")
    out.mkdir(parents=True, exist_ok=True)
    card = {**plan, "complete": False, "versions": {name: version(name) for name in ("coview", "av", "pillow")}}
    write_aside(path, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card


def _finish(collection: Collection, out: Path, card: dict[str, Any], count: int) -> dict[str, Any]:
    """Join the shards' tables, leave out what could not be read, and say that the copy is complete."""
    table = pa.concat_tables([read_table(_table(out, k), CLIP_SCHEMA, remedy="prepare again") for k in range(count)])
    stored = table.filter(pc.is_null(table.column("problem")))
    kept = pc.unique(stored.column("row"))  # in order
    recordings = collection.table.take(kept)
    clips = stored.set_column(0, CLIP_SCHEMA.field("row"), pc.index_in(stored.column("row"), kept).cast(pa.int64()))
    problems: dict[str, list[str]] = {}
    for row in table.filter(pc.is_valid(table.column("problem"))).to_pylist():
        problems.setdefault(row["id"], []).append(f"{row['start']:.1f} to {row['end']:.1f} s: {row['problem']}")
    write_table(clips, out / CLIPS)
    write_table(recordings, out / RECORDINGS)
    card = card | {
        "complete": True,
        "fingerprint": fingerprint_of(recordings, collection.classes),
        "recordings": recordings.num_rows,
        "clips": clips.num_rows,
        "hours": round((pc.sum(pc.subtract(clips["end"], clips["start"])).as_py() or 0.0) / 3600, 4),
        "bytes": sum((out / shard_name(k)).stat().st_size for k in range(count)),
        "problems": problems,
        "digest": sha256_of(out / RECORDINGS),
    }
    write_aside(out / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card


def _table(out: Path, index: int) -> Path:
    return out / Path(shard_name(index)).with_suffix(".parquet")


@functools.lru_cache(maxsize=1)
def _opened(folder: Path) -> Collection:
    return Collection.open(folder)  # once per process, not once per shard
