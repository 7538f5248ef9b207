"""Exact search of many vectors: CPU-seconds a query, everywhere and under filters, beside faiss's flat index.

    OMP_NUM_THREADS=1 python benchmarks/search.py [--vectors 1000000] [--faiss SITE-PACKAGES]

Made unit vectors in crowded clusters, four windows a recording, as a store on disk has them; one thread. By turns with
faiss, which gets the same float32 numbers in memory, and is asked for as many vectors as surely hold k recordings.
"Recall" is the share of the ten recordings that sorting all cosines in float64 gives.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coview.embedding.gallery import Gallery

DIM, WINDOWS, K, QUERIES = 128, 4, 10, 40
_CLUSTERS, _BLOCK = 5000, 1 << 14


def main() -> None:
    """Make the vectors, search them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--faiss", type=Path, help="site-packages of an environment that has faiss-cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recordings = arguments.vectors // WINDOWS
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        clips = write(Path(folder) / "v.npy", recordings, generator)
        gallery = Gallery(clips)
        picked = generator.integers(0, recordings, QUERIES)
        queries = [clips[row, 0] + 0.1 * generator.standard_normal(DIM).astype(np.float32) for row in picked]
        filters: dict[str, NDArray[np.bool_] | None] = {"all recordings": None}
        filters |= {f"{share} %": generator.random(recordings) < share / 100 for share in (10, 1)}
        engines: dict[str, Callable[..., Any]] = {"coview": lambda query, rows: ask(gallery, query, rows)}
        if arguments.faiss:
            sys.path.append(str(arguments.faiss))
            engines["faiss Flat"] = flat(clips)
        print(f"{recordings * WINDOWS:,} x {DIM}, {WINDOWS} windows a recording, {QUERIES} queries, k = {K}")
        print(f"{'':24}{'filter':>16}{'CPU-s a query: median':>24}{'worst':>8}{'recall':>8}")
        for words, rows in filters.items():
            truth = [exact(clips, query, rows) for query in queries]
            spent: dict[str, list[float]] = {name: [] for name in engines}
            right: dict[str, list[float]] = {name: [] for name in engines}
            for turn, query in enumerate([queries[0], *queries]):
                for name, engine in engines.items():
                    begun = time.process_time()
                    found = engine(query, rows)
                    if turn:  # the first one warms up
                        spent[name].append(time.process_time() - begun)
                        right[name].append(len(set(found) & set(truth[turn - 1])) / len(truth[turn - 1]))
            for name in engines:
                median, worst = statistics.median(spent[name]), max(spent[name])
                print(f"{name:24}{words:>16}{median:24.4f}{worst:8.4f}{statistics.mean(right[name]):8.3f}", flush=True)


def write(path: Path, recordings: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Write vectors (recordings, WINDOWS, DIM): 24 decaying directions of centres, and noise; return them mapped."""
    shape = (recordings, WINDOWS, DIM)
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    directions = generator.standard_normal((24, DIM)) * 0.85 ** np.arange(24)[:, None]
    centres = (generator.standard_normal((_CLUSTERS, 24)) @ directions).astype(np.float32)
    for first in range(0, recordings, _BLOCK):
        rows = mapped[first : first + _BLOCK]
        cluster = np.minimum(generator.zipf(1.3, len(rows)), _CLUSTERS) - 1
        rows[:] = centres[cluster][:, None] + 0.4 * generator.standard_normal(rows.shape, dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    mapped.flush()
    found: NDArray[np.float32] = np.load(path, mmap_mode="c")
    return found


def exact(clips: NDArray[np.float32], query: NDArray[np.float32], rows: NDArray[np.bool_] | None) -> list[int]:
    """Return the K best recordings by sorting all cosines in float64."""
    best = np.concatenate([
        (clips[first : first + _BLOCK].astype(np.float64) @ query.astype(np.float64)).max(1)
        for first in range(0, len(clips), _BLOCK)
    ])  # fmt: skip
    best = best if rows is None else np.where(rows, best, -np.inf)
    return list(np.argsort(-best, kind="stable")[:K].tolist())


def ask(gallery: Gallery, query: NDArray[np.float32], rows: NDArray[np.bool_] | None) -> list[int]:
    """Return the rows that coview finds."""
    return list(gallery.nearest(torch.from_numpy(query), K, rows).rows.tolist())


def flat(clips: NDArray[np.float32]) -> Callable[..., list[int]]:
    """Return a search by faiss's flat index of all windows; recordings are told apart afterwards."""
    import faiss  # type: ignore[import-not-found]

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(DIM)
    index.add(clips.reshape(-1, DIM))

    def find(query: NDArray[np.float32], rows: NDArray[np.bool_] | None) -> list[int]:
        chosen = None
        if rows is not None:
            bits = np.packbits(np.repeat(rows, WINDOWS), bitorder="little")
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        _, found = index.search(query[None], K * WINDOWS, params=chosen)
        return list(dict.fromkeys((found[0] // WINDOWS).tolist()))[:K]

    return find


if __name__ == "__main__":
    main()
