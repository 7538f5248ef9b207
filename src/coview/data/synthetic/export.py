"""Procedural clips as real MP4 files, for whatever reads media."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coview.data.manifest import TRACK
from coview.data.synthetic.signals import SAMPLE_RATE
from coview.data.synthetic.world import World
from coview.data.tracks import write_series
from coview.media.encode import write_clip

_BLOCK = 32
_QUALITY = 12  # constant rate factor: small pictures need a finer quantiser than films


def write_mp4(
    world: World,
    folder: Path,
    count: int | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the first `count` clips of a world as `folder/<id>.mp4`, and `folder/manifest.jsonl`; return the manifest.

    A clip of digits is half a second of picture and one second of sound: the picture is played forth and back, so that
    both last as long. What lies beside a clip becomes `<id>.<track>.csv`, a row for every picture with its time. A file
    that is already there is kept. The manifest has one line per clip: path, id, label, split, group (every clip is its
    own), the tables, and the world's other columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = min(count or len(world), len(world))
    lines = []
    for row, path in zip(range(total), _paths(world, folder, total, progress), strict=True):
        columns = {name: int(values[row]) for name, values in world.columns.items()}
        label, name = world.classes[int(world.labels[row])], world.ids[row]
        entry = {"path": path.name, "id": name, "label": label, "split": world.split, "group": name, **columns}
        entry |= {TRACK + track: table_of(path, track).name for track in world.tracks}
        lines.append(json.dumps(entry))
    manifest = folder / "manifest.jsonl"
    part = manifest.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(manifest)
    return manifest


def table_of(path: Path, track: str) -> Path:
    """Return where the table of a clip's file lies."""
    return path.with_suffix(f".{track}.csv")


def whole_second(video: Tensor, fps: float) -> Tensor:
    """Return frames (..., 3, T, S, S) for one second: played forth and back where T frames last less."""
    return torch.cat([video, video.flip(-3)], -3) if video.shape[-3] < round(fps) else video


def _paths(world: World, folder: Path, total: int, progress: Callable[[int, int], None]) -> Iterator[Path]:
    for first in range(0, total, _BLOCK):
        rows = range(first, min(first + _BLOCK, total))
        paths = [folder / f"{world.ids[row]}.mp4" for row in rows]
        if not all(path.exists() for path in paths):
            clips = world.render(torch.tensor(rows))
            sounds = clips.get("audio", [None] * len(paths))
            frames = whole_second(clips["video"], world.fps) if world.samples else clips["video"]
            for number, (path, picture, sound) in enumerate(zip(paths, frames, sounds, strict=True)):
                if not path.exists():  # a complete file: it gets its name only when it is whole, after its tables
                    for track in world.tracks:
                        table = clips[track][number].numpy()
                        write_series(table_of(path, track), table, np.arange(len(table)) / world.fps)
                    write_clip(path, picture, world.fps, sound, SAMPLE_RATE if world.samples else None, crf=_QUALITY)
        progress(rows.stop, total)
        yield from paths
