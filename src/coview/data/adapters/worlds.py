"""The procedural worlds as adapters: their clips written as real MP4 files."""

from __future__ import annotations

from pathlib import Path

import torch

from coview.data.adapters import Item, Made, Options
from coview.data.collection import SPLITS
from coview.data.open import open_source
from coview.data.synthetic.world import World
from coview.errors import UsageError
from coview.media.encode import write_clip

_USUAL = 300
_SHARE = {"train": 0.8, "validation": 0.1, "test": 0.1}
_CHUNK = 32


def make_digits(out: Path, options: Options) -> Made:
    """Write clips of `digits-av`; the variant is its level, "A" by default."""
    return _make("digits-av", out, options)


def make_objects(out: Path, options: Options) -> Made:
    """Write clips of `objects-av`; the variant names the shared factors, "object" by default."""
    return _make("objects-av", out, options)


def _make(name: str, out: Path, options: Options) -> Made:
    """Write the first clips of each split: 80 % of `options.count` train, 10 % validation, 10 % test."""
    count = options.count or _USUAL
    if count < 10:
        raise UsageError(f"{name}: ask for a count of at least 10, so that every split has a clip; found {count}")
    items: list[Item] = []
    full_name = f"{name}:{options.variant}" if options.variant else name
    for split in SPLITS:
        world = open_source(full_name, None, split=split, seed=options.seed)
        assert isinstance(world, World)
        wanted = count - sum(round(count * _SHARE[s]) for s in SPLITS[1:])
        wanted = wanted if split == "train" else round(count * _SHARE[split])
        if wanted > len(world):
            raise UsageError(f"{full_name}: {wanted} {split} clips asked for, and the world has {len(world)}")
        folder = out / split
        folder.mkdir(parents=True, exist_ok=True)
        for first in range(0, wanted, _CHUNK):
            index = torch.arange(first, min(first + _CHUNK, wanted))
            paths = [folder / f"{world.ids[i]}.mp4" for i in index.tolist()]
            if not all(path.exists() for path in paths):
                clips = world.render(index)
                for path, frames, sound in zip(paths, clips["video"], clips["audio"], strict=True):
                    if not path.exists():
                        write_clip(path, frames, world.fps, sound, 16000)
            for i, path in zip(index.tolist(), paths, strict=True):
                label = world.classes[int(world.labels[i])]
                items.append(Item(path=path.relative_to(out), id=world.ids[i], label=label, split=split))
            options.progress(len(items), count)
    report = {"world": full_name, "seed": options.seed, "fingerprint": world.fingerprint}
    return Made(items=items, root=out, report=report)
