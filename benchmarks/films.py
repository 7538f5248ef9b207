"""What storing films as they are first read costs and saves, in a loader without workers, on its own processor time.

    python benchmarks/films.py [--folder FOLDER] [--films 12] [--epochs 12] [--gops 250 12] [--windows 4]

Films and sample are those of benchmarks/loader.py, with a key frame every 250 and every 12 frames. Every epoch is read
from the films themselves, through a cache that begins empty, and from a prepared copy; the batches of the last two are
compared to the bit. "pays after" is the epoch from which the cache has cost less in all. Then several evenly spaced
windows of each film are read one by one, in one pass, and from the cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import torch
from loader import VIEWS, cpu_seconds, make_files

from coview.data.collection import Collection
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.shards.cached import CachedSource
from coview.data.shards.films import Films
from coview.data.shards.paying import balance, cut_of
from coview.data.shards.read import ShardSource
from coview.data.shards.write import prepare
from coview.data.source import Source
from coview.data.views import Batch

BATCH = 4


def cost(work: Callable[[], Any]) -> float:
    """Return the CPU-milliseconds of some work."""
    begin = cpu_seconds()
    work()
    return 1000 * (cpu_seconds() - begin)


def epochs(source: Source, count: int, seen: Callable[[Batch], None]) -> list[float]:
    """Return the CPU-milliseconds of each epoch."""
    loader = Loader(source, batch_size=BATCH, seed=0)
    stream: Iterator[Batch] = loader.stream()
    return [cost(lambda: [seen(batch) for batch in islice(stream, loader.steps_per_epoch)]) for _ in range(count)]


def digest(batch: Batch) -> list[int]:
    """Return numbers that change with every bit of a batch's views."""
    return [hash(view.contiguous().numpy().tobytes()) for view in batch.views.values()]


def measured(folder: Path, gop: int, films: int, count: int, windows: int) -> dict[str, Any]:
    """Return what one set of films costs."""
    make_files(folder / "clips", films, gop)
    if not (folder / "index").exists():
        index_source(str(folder / "clips"), folder / "index", workers=0)
    collection = Collection.open(folder / "index")
    direct = MediaSource(collection, VIEWS)
    cut = cut_of(direct.views)
    prepare(collection, folder / "shards", cut, Serial())
    cache = Films(folder / "cache", cut, 10**12)
    shutil.rmtree(cache.root, ignore_errors=True)
    cache.open()
    stored, shards = CachedSource(direct, cache), ShardSource(folder / "shards", VIEWS)
    found: dict[str, list[list[int]]] = {"cache": [], "shards": []}
    times = {
        "films": epochs(direct, count, lambda batch: None),
        "cache": epochs(stored, count, lambda batch: found["cache"].append(digest(batch))),
        "shards": epochs(shards, count, lambda batch: found["shards"].append(digest(batch))),
    }
    sums = {name: list(accumulate(each)) for name, each in times.items()}
    ahead = (n for n, (one, other) in enumerate(zip(sums["cache"], sums["films"], strict=True), 1) if one < other)
    hours = sum(recording.duration for recording in collection) / 3600
    rows = torch.arange(films)
    several = {
        "one by one": cost(lambda: [direct.read_window(rows, window, windows) for window in range(windows)]),
        "in one pass": cost(lambda: direct.read_windows(rows, range(windows), windows)),
        "stored": cost(lambda: stored.read_windows(rows, range(windows), windows)),
    }
    told = balance(direct, cut, films * count)
    return {
        "key frame every": gop,
        "batches equal to the bit": found["cache"] == found["shards"],
        "CPU-ms a sample, films": sum(times["films"]) / films / count,
        "CPU-ms a film, first epoch through the cache": times["cache"][0] / films,
        "CPU-ms a sample, cache": sum(times["cache"][1:]) / films / max(1, count - 1),
        "CPU-ms a sample, shards": sum(times["shards"]) / films / count,
        "CPU-seconds of all epochs": {name: each[-1] / 1000 for name, each in sums.items()},
        "pays after": next(ahead, None),
        "said before: CPU-seconds saved": (told.saved - told.spent) / 1000,
        "MB an hour of film": cache.there() / 1e6 / hours,
        "said before / MB": told.bytes / cache.there(),
        f"CPU-ms for {windows} windows of a film": {name: ms / films for name, ms in several.items()},
    }


def main() -> None:
    """Measure, and print a line of JSON for each distance of key frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--gops", type=int, nargs="+", default=[250, 12])
    parser.add_argument("--windows", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for gop in arguments.gops:
            made = measured(folder / f"gop-{gop}", gop, arguments.films, arguments.epochs, arguments.windows)
            print(json.dumps(made), flush=True)


if __name__ == "__main__":
    main()
