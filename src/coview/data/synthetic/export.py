"""Procedural clips as real MP4 files, for whatever reads media."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from coview.data.synthetic.signals import SAMPLE_RATE
from coview.data.synthetic.world import World
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
    both last as long. A file that is already there is kept. The manifest has one line per clip: path, id, label,
    split, group (every clip is its own) and the world's other columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = min(count or len(world), len(world))
    lines = []
    for row, path in zip(range(total), _paths(world, folder, total, progress), strict=True):
        columns = {name: int(values[row]) for name, values in world.columns.items()}
        label, name = world.classes[int(world.labels[row])], world.ids[row]
        entry = {"path": path.name, "id": name, "label": label, "split": world.split, "group": name, **columns}
        lines.append(json.dumps(entry))
    manifest = folder / "manifest.jsonl"
    part = manifest.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(manifest)
    return manifest


def whole_second(video: Tensor, fps: float) -> Tensor:
    """Return frames (..., 3, T, S, S) for one second: played forth and back where T frames last less."""
    return torch.cat([video, video.flip(-3)], -3) if video.shape[-3] < round(fps) else video


def _paths(world: World, folder: Path, total: int, progress: Callable[[int, int], None]) -> Iterator[Path]:
    for first in range(0, total, _BLOCK):
        rows = range(first, min(first + _BLOCK, total))
        paths = [folder / f"{world.ids[row]}.mp4" for row in rows]
        if not all(path.exists() for path in paths):
            clips = world.render(torch.tensor(rows))
            frames = whole_second(clips["video"], world.fps)
            for path, picture, sound in zip(paths, frames, clips["audio"], strict=True):
                if not path.exists():  # a complete file: it gets its name only when it is whole
                    write_clip(path, picture, world.fps, sound, SAMPLE_RATE, crf=_QUALITY)
        progress(rows.stop, total)
        yield from paths
