"""Preparing: recordings decoded once, at training rate and size, into tar shards; every shard is a task of its own."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coview.data.collection import Collection
from coview.data.executors import Executor
from coview.data.recording import Recording
from coview.data.shards.layout import (
    CARD,
    CLIP_SCHEMA,
    CLIPS,
    FORMAT,
    RECORDINGS,
    PrepareSettings,
    describe,
    shard_name,
    spans,
)
from coview.data.tables import fingerprint_of
from coview.errors import MediaError, UsageError
from coview.files import write_aside
from coview.media import jpeg
from coview.media.container import open_media, sequential_in
from coview.media.cuts import SAME_INSTANT, AudioCut
from coview.media.flac import encode_flac
from coview.media.pictures import read_whole_frames
from coview.media.regular import head_of
from coview.media.sounds import read_sound
from coview.media.stills import is_still, read_whole_still
from coview.media.waveform import to_int16

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ShardTask:
    """Rows [first, last) of a collection, to be written as one shard."""

    collection: Path
    out: Path
    index: int
    first: int
    last: int
    settings: PrepareSettings


def prepare(
    collection: Collection,
    out: Path,
    settings: PrepareSettings,
    executor: Executor,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Write the prepared copy of a whole collection and return its card; what is there already is kept.

    With an executor whose processes each see their own tasks only, the one that finds all shards complete writes the
    card; the others return one with "complete" false.

    Args:
        progress: called with (shards done, shards).

    Raises:
        UsageError: the folder holds something else, or a copy made with other settings.
    """
    count = math.ceil(len(collection) / settings.recordings_per_shard)
    card = _enter(collection, out, settings, count)
    if card["complete"]:
        progress(count, count)
        return card
    step, rows = settings.recordings_per_shard, len(collection)
    tasks = [
        ShardTask(collection.folder.absolute(), out.absolute(), k, k * step, min((k + 1) * step, rows), settings)
        for k in range(count)
    ]
    # All of them, whatever is there: processes that started at different times must share out the same list.
    for done, _ in enumerate(executor.run(write_shard, tasks), 1):
        progress(done, count)
    if not all(_table(out, task.index).is_file() for task in tasks):
        return card
    return _finish(collection, out, card, count)


def write_shard(task: ShardTask) -> int:
    """Write one shard, tar first and table last, unless it is there; returns its index."""
    if _table(task.out, task.index).is_file():
        return task.index
    collection = _opened(task.collection)
    notes: list[dict[str, Any]] = []
    path = task.out / shard_name(task.index)
    aside = path.with_name(f".{path.name}.partial")
    with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in range(task.first, task.last):
            recording = collection[row]
            for clip, span in enumerate(spans(recording, task.settings)):
                note = {"row": row, "id": recording.id, "clip": clip, "start": span[0], "end": span[1]}
                try:
                    about, files = _encode(collection.path(recording), recording, clip, span, task.settings)
                except MediaError as error:
                    notes.append({**note, "problem": f"{error.reason}: {error.message}"})
                    continue
                notes.append({**note, "shard": task.index, **_add(tar, f"{row:08d}-{clip:02d}", about, files)})
    aside.replace(path)
    _write_table(pa.Table.from_pylist(notes, schema=CLIP_SCHEMA), _table(task.out, task.index))
    return task.index


def _add(tar: tarfile.TarFile, key: str, about: dict[str, Any], files: list[tuple[str, bytes]]) -> dict[str, int]:
    """Append the members of a clip and return where they are."""
    first, text = tar.offset, json.dumps(about, ensure_ascii=False).encode()
    for name, data in [("json", text), *files]:
        info = tarfile.TarInfo(f"{key}.{name}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return {"offset": first, "bytes": tar.offset - first, "json_bytes": len(text)}


def _encode(
    path: Path, recording: Recording, clip: int, span: tuple[float, float], settings: PrepareSettings
) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Return what KEY.json says, and (extension, contents) of the clip's other members in their order."""
    about = describe(recording, clip, span)
    files: list[tuple[str, bytes]] = []
    if is_still(head_of(path)):
        return about | _store(files, [read_whole_still(path, settings.size)], 0.0, settings), files
    with open_media(path, sequential_in(recording.flags)) as media:
        if recording.has_audio and not recording.silent:
            rate = settings.sample_rate
            # On the grid of whole samples, so that every cut begins at the same instants as one from the file.
            first = math.ceil(max(span[0], recording.audio_start) * rate - SAME_INSTANT)
            seconds = min(span[1], recording.audio_end) - first / rate
            if seconds * rate >= 1:
                sound = read_sound(media, AudioCut(start=first / rate, seconds=seconds, sample_rate=rate))
                flac = encode_flac(to_int16(sound.waveform).numpy(), rate)
                files.append(("flac", flac.data))
                about |= {"sample_rate": rate, "first_sample": first, "samples": len(sound.waveform)}
                about |= {"flac_header": flac.header, "flac_block": flac.block, "flac_frames": flac.frames}
        if recording.has_video:
            # On the grid of the whole recording's frames, as the sound: one at the same rate loses none.
            whole = math.floor(
                (max(span[0], recording.video_start) - recording.video_start + SAME_INSTANT) * settings.fps
            )
            begin, end = recording.video_start + whole / settings.fps, min(span[1], recording.video_end)
            count = max(1, math.ceil((end - begin) * settings.fps - SAME_INSTANT))
            if end > begin:
                pictures = read_whole_frames(media, begin, count, settings.fps, settings.size)
                about |= _store(files, pictures, begin, settings)
    return about, files


def _store(
    files: list[tuple[str, bytes]], pictures: list[NDArray[np.uint8]], begin: float, settings: PrepareSettings
) -> dict[str, Any]:
    """Append pictures as JPEG, each distinct one encoded once, and return what KEY.json says of them."""
    encoded = {id(picture): jpeg.encode(picture, settings.quality) for picture in pictures}
    frames = [encoded[id(picture)] for picture in pictures]
    files += [(f"{k:04d}.jpg", data) for k, data in enumerate(frames)]
    height, width = np.shape(pictures[0])[:2]
    about = {"fps": settings.fps, "picture_start": begin, "width": width, "height": height}
    return about | {"frame_bytes": [len(data) for data in frames]}


def _enter(collection: Collection, out: Path, settings: PrepareSettings, count: int) -> dict[str, Any]:
    """Return the card in the folder, after checking that it is of the same work, or a new one."""
    plan = {
        "format": FORMAT,
        "source": collection.folder.name,
        "source_fingerprint": collection.fingerprint,
        "settings": dataclasses.asdict(settings),
        "shards": count,
        "root": ".",
        "classes": collection.classes,
    }
    path = out / CARD
    if path.is_file():
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        differing = [name for name in plan if card.get(name) != json.loads(json.dumps(plan[name]))]
        if differing:
            raise UsageError(
                f"{out} holds a copy with another {', '.join(differing)}; remove it or choose another name"
            )
        return card
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no prepared copy; choose another name")
    out.mkdir(parents=True, exist_ok=True)
    card = {**plan, "complete": False, "versions": {name: version(name) for name in ("coview", "av", "pillow")}}
    write_aside(path, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card


def _finish(collection: Collection, out: Path, card: dict[str, Any], count: int) -> dict[str, Any]:
    """Join the shards' tables, leave out what could not be read, and say that the copy is complete."""
    table = pa.concat_tables([pq.read_table(_table(out, k)) for k in range(count)])
    stored = table.filter(pc.is_null(table.column("problem")))
    kept = pc.unique(stored.column("row"))  # in order
    recordings = collection.table.take(kept)
    clips = stored.set_column(0, CLIP_SCHEMA.field("row"), pc.index_in(stored.column("row"), kept).cast(pa.int64()))
    problems: dict[str, list[str]] = {}
    for row in table.filter(pc.is_valid(table.column("problem"))).to_pylist():
        problems.setdefault(row["id"], []).append(f"{row['start']:.1f} to {row['end']:.1f} s: {row['problem']}")
    _write_table(clips, out / CLIPS)
    _write_table(recordings, out / RECORDINGS)
    card = card | {
        "complete": True,
        "fingerprint": fingerprint_of(recordings, collection.classes),
        "recordings": recordings.num_rows,
        "clips": clips.num_rows,
        "hours": round((pc.sum(pc.subtract(clips["end"], clips["start"])).as_py() or 0.0) / 3600, 4),
        "bytes": sum((out / shard_name(k)).stat().st_size for k in range(count)),
        "problems": problems,
    }
    write_aside(out / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card


def _table(out: Path, index: int) -> Path:
    return out / Path(shard_name(index)).with_suffix(".parquet")


def _write_table(table: pa.Table, path: Path) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")  # two processes may find the copy complete at once
    pq.write_table(table, aside)
    aside.replace(path)


@functools.lru_cache(maxsize=1)
def _opened(folder: Path) -> Collection:
    return Collection.open(folder)  # once per process, not once per shard
