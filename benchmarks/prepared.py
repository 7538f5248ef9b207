"""How many samples one CPU-second yields from untouched files, prepared shards and memory-mapped arrays; and memory.

    python benchmarks/prepared.py [--folder FOLDER] [--rounds 5] [--seconds 1] [--beside "COMMAND"] [--leak 0 0]

Files and sample are those of benchmarks/loader.py: 24 films of 340 x 256 and 10 s, a sample of 8 frames of 112 x 112 at
16 per second (128 x 128 before cropping) and 1 s of sound at 16 kHz, random starts, batches of 8, in one process.
Rates are per CPU-second (user + system), measured in turns: every round measures everything once, in whole epochs, so
that what else the computer does at the time weighs on all alike. "files, k clips" reads each film k times an epoch.
"augmented" includes augmentation and log-mel on the same processor, which training leaves to its device.

--beside measures another loader in the same rounds: COMMAND is started with the folder of the films, reads one number
of samples per line, and answers each with the CPU-seconds that they took. The ratios are those of each round.

Memory is that of a reading process of the loader: its resident size (torch's libraries, mostly, which processes share),
what it shares with no other, the peak, and the growth while it reads --leak samples, first from the films, then from
the shards: a line fitted to the resident size after the first tenth.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import shlex
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from loader import BATCH, VIEWS, cpu_seconds, make_files

from coview.data.augment.settings import PRESETS
from coview.data.collection import Collection
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.memmap import fill
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.write import prepare

CLIPS = 4  # of a recording in an epoch, as the other loader was measured; the memory bank's epoch takes 5
BESIDE_SAMPLES = 16  # of the other loader in a round


def make(folder: Path) -> dict[str, str]:
    """Make files, shards and arrays that are not there yet; kind -> name of the source."""
    make_files(folder / "clips")
    if not (folder / "index").exists():
        index_source(str(folder / "clips"), folder / "index", workers=0)
    collection = Collection.open(folder / "index")
    size = VIEWS["video"].decode_size
    begin = cpu_seconds()
    prepare(collection, folder / "shards", PrepareSettings(size=size, recordings_per_shard=8), Serial())
    print(json.dumps({"preparing, CPU-seconds per film": round((cpu_seconds() - begin) / len(collection), 2)}))
    if not (folder / "memmap").exists():
        fill(MediaSource(collection, VIEWS), folder / "memmap", cuts=8)
    return {"media": str(folder / "index"), "shards": str(folder / "shards"), "memmap": str(folder / "memmap")}


def measured(name: str, clips: int, seconds: float, augmented: bool = False) -> Callable[[], float]:
    """Return what measures the samples per CPU-second of a loader without workers, over whole epochs."""
    loader = Loader(open_source(name, VIEWS), batch_size=BATCH, seed=0, clips_per_recording=clips)
    stream = loader.stream(0)
    preprocess = Preprocess(VIEWS, PRESETS["xid"])
    for batch in islice(stream, loader.steps_per_epoch):  # files in the page cache, libraries loaded
        if augmented:
            preprocess(batch, True)

    def measure() -> float:
        begin, count = cpu_seconds(), 0
        while cpu_seconds() - begin < seconds:
            for batch in islice(stream, loader.steps_per_epoch):
                count += len(batch)
                if augmented:
                    preprocess(batch, True)
        return count / (cpu_seconds() - begin)

    return measure


def beside(command: str, films: Path) -> Callable[[], float]:
    """Start another loader and return what measures its samples per CPU-second."""
    other = subprocess.Popen(
        [*shlex.split(command), str(films)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def measure() -> float:
        assert other.stdin is not None and other.stdout is not None
        print(BESIDE_SAMPLES, file=other.stdin, flush=True)
        return BESIDE_SAMPLES / float(other.stdout.readline())

    measure()
    return measure


def spread(values: list[float]) -> dict[str, float]:
    """Return the smallest, the median and the largest."""
    shown = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in shown.items()}


def memory(pid: int) -> dict[str, float]:
    """Megabytes of a process: resident, what it shares with no other, and the peak of the first."""
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return {
        "resident": sum(int(words[1]) for words in lines if words[0] == "Rss:") / 1e3,
        "private": sum(int(words[1]) for words in lines if words[0].startswith("Private_")) / 1e3,
        "peak": int(peak[1]) / 1e3 if peak else 0.0,
    }


def watch(name: str, samples: int) -> dict[str, float]:
    """Read samples through one reading process of the loader, and return its memory and how fast that grows."""
    stream = Loader(open_source(name, VIEWS), batch_size=BATCH, seed=0, clips_per_recording=5, workers=1).stream(0)
    sizes: list[float] = []
    last: dict[str, float] = {}
    for _ in islice(stream, samples // BATCH):
        (worker,) = multiprocessing.active_children()
        last = memory(worker.pid or 0)
        sizes.append(last["resident"])
    late = np.array(sizes[len(sizes) // 10 :])
    slope = float(np.polyfit(np.arange(len(late)) * BATCH, late, 1)[0])
    return {
        **{key: round(value) for key, value in last.items()},
        "growth_per_1000_samples": round(1000 * slope, 3),
    }


def main() -> None:
    """Make the files, measure, print JSON objects."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "coview-benchmark-loader")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="least CPU-seconds of each measurement in a round")
    parser.add_argument("--beside", help="command of another loader")
    parser.add_argument("--augmented", action="store_true", help="also with augmentation on the same processor")
    parser.add_argument("--leak", type=int, nargs=2, default=(0, 0), help="samples read while memory is watched")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources = make(arguments.folder)
    measures = {"beside": beside(arguments.beside, arguments.folder / "clips")} if arguments.beside else {}
    measures |= {f"files, {k} clips": measured(sources["media"], k, arguments.seconds) for k in (1, CLIPS, 5)}
    measures |= {kind: measured(sources[kind], CLIPS, arguments.seconds) for kind in ("shards", "memmap")}
    if arguments.augmented:
        for kind, name in sources.items():
            measures[f"{kind}, augmented"] = measured(name, CLIPS, arguments.seconds, augmented=True)
    rates: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(arguments.rounds):
        for name, measure in measures.items():
            rates[name].append(measure())
        print(json.dumps({name: float(f"{rate[-1]:.4g}") for name, rate in rates.items()}), os.getloadavg(), flush=True)
    for name, values in rates.items():
        result = {name: spread(values)}
        if "beside" in rates:
            result["times"] = spread([one / other for one, other in zip(values, rates["beside"], strict=True)])
        print(json.dumps(result), flush=True)
    for kind, samples in zip(("media", "shards"), arguments.leak, strict=True):
        if samples:
            print(json.dumps({f"megabytes of a reading process/{kind}": watch(sources[kind], samples)}), flush=True)


if __name__ == "__main__":
    main()
