"""What grows with the number of recordings: opening, the loader's start, order, bank, k-means, a store's table.

    OMP_NUM_THREADS=1 python benchmarks/scale.py [--rows 1000000] [--workers 4] [--few 100000]

One made film is indexed, and its row is repeated under other ids: a collection of as many recordings as are asked, all
of which are read from the one file. So what is measured is the real code on the real tables, except for the films.
Seconds are CPU-seconds (user + system) of this process; "wall" is said where it is meant. Memory is resident memory
(VmRSS) gained by each step, and the peak of the process. Bank, k-means and the writing of a collection are measured on
--few rows: they are linear in them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from coview.data.adapters import Options
from coview.data.collection import Collection, write_tables
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.order import Order
from coview.data.views import AudioView, VideoView
from coview.files import sha256_of
from coview.objectives.kmeans import kmeans
from coview.objectives.memory_bank import MemoryBank

VIEWS = {"video": VideoView(frames=8, fps=16.0, size=112), "audio": AudioView(seconds=1.0)}
DIM, CLUSTERS = 128, 1000


def resident() -> float:
    """Return this process's resident memory in MB."""
    return next(int(row.split()[1]) for row in Path("/proc/self/status").open() if row.startswith("VmRSS")) / 1e3


def peak() -> float:
    """Return the most resident memory that this process ever had, in MB."""
    return next(int(row.split()[1]) for row in Path("/proc/self/status").open() if row.startswith("VmHWM")) / 1e3


def measured(found: dict[str, Any], name: str, work: Callable[[], Any]) -> Any:
    """Do some work, and note its CPU-seconds and the memory that it leaves taken."""
    before, began = resident(), time.process_time()
    made = work()
    found[name] = {"seconds": round(time.process_time() - began, 2), "megabytes": round(resident() - before)}
    print(name, found[name], flush=True)
    return made


def simulate(folder: Path, rows: int) -> Path:
    """Write a collection of `rows` recordings that are one film, in pieces of a million."""
    one = folder / "one"
    if not (one / "collection.json").is_file():
        index_source("digits-av:A", one, options=Options(count=3), workers=0)
    known = Collection.open(one)
    card, film = dict(known.about), known.table.slice(0, 1)
    out = folder / f"rows-{rows}"
    if (out / "collection.json").is_file():
        return out
    out.mkdir(exist_ok=True)
    path = str((known.root / known.column("path")[0]).resolve())
    with pq.ParquetWriter(out / "recordings.parquet", film.schema) as writer:
        for first in range(0, rows, 1_000_000):
            count = min(1_000_000, rows - first)
            new = {"id": pa.array([f"r{row:09d}" for row in range(first, first + count)])}
            new["path"] = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [path]).cast(pa.string())
            columns = [new.get(name, film.column(name).combine_chunks().take(pa.array(np.zeros(count, np.int64))))
                       for name in film.column_names]  # fmt: skip
            writer.write_table(pa.table(columns, schema=film.schema))
    (out / "quarantine.parquet").write_bytes((one / "quarantine.parquet").read_bytes())
    card |= {"counts": {**card["counts"], "recordings": rows}, "digest": sha256_of(out / "recordings.parquet")}
    card["fingerprint"] = f"{rows:064d}"
    (out / "collection.json").write_text(json.dumps(card))
    return out


def main() -> None:
    """Measure, and print one JSON object at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "coview-benchmark-scale")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--few", type=int, default=100_000)
    told = parser.parse_args()
    torch.set_num_threads(1)
    told.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"rows": told.rows}
    place = measured(found, "made (not part of coview)", lambda: simulate(told.folder, told.rows))
    found["table_megabytes"] = round((place / "recordings.parquet").stat().st_size / 1e6)
    collection = measured(found, "collection opened", lambda: Collection.open(place))
    source = measured(found, "source made", lambda: MediaSource(collection, VIEWS))
    order = Order.within(0, told.rows, 1, 256)
    measured(found, "order of 1000 batches of 256",
             lambda: [order.rows_of(torch.arange(k * 256, k * 256 + 256), 0, 0) for k in range(1000)])  # fmt: skip
    for start in ("the first time", "again") if told.workers else ():  # the first imports torch for all that follow
        stream = Loader(source, batch_size=32, seed=0, workers=told.workers).stream()
        name, began = f"first batch of {told.workers} reading processes, {start}", time.perf_counter()
        measured(found, name, lambda stream=stream: next(stream))
        found[name]["wall"] = round(time.perf_counter() - began, 1)
        stream.close()
    few = told.few
    bank = measured(found, f"bank of {few} x {DIM}", lambda: MemoryBank(few, DIM, 0.5, 0))
    measured(found, f"k-means of {few} x {DIM}, {CLUSTERS} clusters, 3 iterations",
             lambda: kmeans(bank.memory, CLUSTERS, iterations=3, seed=0))  # fmt: skip
    film = next(iter(collection))
    joined = f"{few} recordings in memory, as index joins them"
    recordings = measured(found, joined, lambda: [dataclasses.replace(film, id=f"r{row:09d}") for row in range(few)])
    with tempfile.TemporaryDirectory() as place:
        about = {"source": "made", "root": ".", "ignored": {}, "report": {}, "parts": {}, "notes": []}
        measured(found, f"{few} recordings written as a collection",
                 lambda: write_tables(Path(place), recordings, [], about))  # fmt: skip
    found["peak_megabytes"] = round(peak())
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
