"""How many samples one CPU-second yields from untouched files, prepared shards and memory-mapped arrays; and memory.

    python benchmarks/prepared.py [--folder FOLDER] [--seconds 10] [--leak 20000]

Files and sample are those of benchmarks/loader.py: 24 films of 340 x 256 and 10 s, a sample of 8 frames of 112 x 112 at
16 per second (128 x 128 before cropping) and 1 s of sound at 16 kHz, random starts, batches of 8, in one process.
Rates are per CPU-second (user + system). "prepared" includes augmentation and log-mel on the same processor, which
training leaves to its device.

Memory is that of a reading process of the loader: its resident size (torch's libraries, mostly, which processes share),
what it shares with no other, the peak, and the growth while it reads --leak samples: a line fitted to the resident size
after the first tenth.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from loader import BATCH, VIEWS, cpu_seconds, make_files

from coview.data.augment.preprocess import Preprocess
from coview.data.augment.settings import PRESETS
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.memmap import fill
from coview.data.open import open_source
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.write import prepare

REFERENCE = 6.0  # samples per CPU-second of AV-SSRL's loader, 5.9 to 6.2, as it was measured on such files


def make(folder: Path) -> dict[str, str]:
    """Make files, shards and arrays that are not there yet; kind -> name of the source."""
    make_files(folder / "clips")
    collection = index_source(str(folder / "clips"), folder / "index", workers=0, overwrite=True)
    size = VIEWS["video"].decode_size
    begin = cpu_seconds()
    prepare(collection, folder / "shards", PrepareSettings(size=size, recordings_per_shard=8), Serial())
    print(json.dumps({"preparing, CPU-seconds per film": round((cpu_seconds() - begin) / len(collection), 2)}))
    if not (folder / "memmap").exists():
        fill(MediaSource(collection, VIEWS), folder / "memmap", cuts=8)
    return {"media": str(folder / "index"), "shards": str(folder / "shards"), "memmap": str(folder / "memmap")}


def rate(name: str, seconds: float, augmented: bool) -> float:
    """Samples per CPU-second of a loader without workers."""
    source = open_source(name, VIEWS)
    stream = Loader(source, batch_size=BATCH, seed=0, clips_per_recording=50).stream(0)
    preprocess = Preprocess(VIEWS, PRESETS["xid"])
    for batch in islice(stream, 5):  # files in the page cache, libraries loaded
        preprocess(batch, True)
    begin, count = cpu_seconds(), 0
    while cpu_seconds() - begin < seconds:
        batch = next(stream)
        count += len(batch)
        if augmented:
            preprocess(batch, True)
    return count / (cpu_seconds() - begin)


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
    stream = Loader(open_source(name, VIEWS), batch_size=BATCH, seed=0, clips_per_recording=50, workers=1).stream(0)
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
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU-seconds of each measurement")
    parser.add_argument("--leak", type=int, default=400, help="samples read while memory is watched")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sources = make(arguments.folder)
    for kind, name in sources.items():
        plain, whole = (rate(name, arguments.seconds, augmented) for augmented in (False, True))
        print(json.dumps({kind: round(plain, 1), "times_the_reference": round(plain / REFERENCE, 1),
                          "prepared": round(whole, 1)}), flush=True)  # fmt: skip
    for kind in ("media", "shards"):
        print(json.dumps({f"megabytes of a reading process/{kind}": watch(sources[kind], arguments.leak)}), flush=True)


if __name__ == "__main__":
    main()
