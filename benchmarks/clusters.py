"""What k-means and Sinkhorn cost: coview's beside faiss's k-means and beside Sinkhorn written down plainly.

    python benchmarks/clusters.py --faiss SITE-PACKAGES     # 100,000 rows of 512, 256 clusters, 20 iterations
    python benchmarks/clusters.py --rounds 5

Rounds alternate, one thread, and what counts is CPU time, so that other work on the machine counts little. Rows lie
around 300 centres, twice as wide as these lie apart in a direction. faiss (a folder it is installed in: no part of this
project) and coview start at the same random rows; then coview once more from its own k-means++, which its time holds.
coview ends where no label changes, and faiss does not look. Ratios are taken round by round; the median is printed with
the smallest and the largest, and the inertias.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.objectives.kmeans import kmeans
from coview.objectives.sinkhorn import sinkhorn

ROWS, DIM, CLUSTERS, ITERATIONS = 100_000, 512, 256, 20
SAMPLES, PROTOTYPES, EPSILON, SCALINGS = 1_024, 3_000, 0.05, 3
REPEATS = 10  # of a Sinkhorn, which is short


def made() -> Tensor:
    """Return the rows (100000, 512), float32."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(300, DIM, generator=generator)
    own = torch.randint(0, 300, (ROWS,), generator=generator)
    return centres[own] + 2 * torch.randn(ROWS, DIM, generator=generator)


def ours(x: Tensor, seed: int, start: Tensor | None) -> tuple[float, int]:
    """Return the inertia that coview's k-means finds, and its iterations."""
    found = kmeans(x, CLUSTERS, seed=seed, start=start, iterations=ITERATIONS)
    return found.inertia, found.iterations


def theirs(x: Tensor, seed: int, start: Tensor) -> float:
    """Return the inertia that faiss's k-means finds, of rows assigned to its last centroids as ours are."""
    faiss, rows = import_module("faiss"), x.numpy()
    faiss.omp_set_num_threads(1)
    found = faiss.Kmeans(DIM, CLUSTERS, niter=ITERATIONS, seed=seed, max_points_per_centroid=ROWS)
    found.train(rows, init_centroids=start.numpy())
    return float(found.index.search(rows, 1)[0].astype("float64").sum())


def plain(scores: Tensor) -> Tensor:
    """Return Sinkhorn's codes as published for SwAV: no care for the range of exp()."""
    q = (scores / EPSILON).exp().T
    q /= q.sum()
    for _ in range(SCALINGS):
        q /= q.sum(1, keepdim=True)
        q /= len(q)
        q /= q.sum(0, keepdim=True)
        q /= q.shape[1]
    return (q * q.shape[1]).T


def spent(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of an action and what it returns."""
    begun = time.process_time()
    value = action()
    return time.process_time() - begun, value


def ratio(name: str, rounds: list[tuple[float, float]], beside: str) -> None:
    """Print the medians of both and of the ratio, with the range of it."""
    first, second = (statistics.median(column) for column in zip(*rounds, strict=True))
    each = sorted(one / other for one, other in rounds)
    print(f"{name}: {first:.4g} CPU-s, {beside} {second:.4g}; ratio {statistics.median(each):.2f}", end=" ")
    print(f"({each[0]:.2f}-{each[-1]:.2f}), {len(each)} rounds")


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faiss", metavar="FOLDER", help="where faiss lies; without it only Sinkhorn is measured")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    points = [
        normalize(torch.randn(count, 128, generator=torch.Generator().manual_seed(count)))
        for count in (SAMPLES, PROTOTYPES)
    ]
    scores = points[0] @ points[1].T
    pair = (
        lambda: [sinkhorn(scores, epsilon=EPSILON, iterations=SCALINGS) for _ in range(REPEATS)][-1],
        lambda: [plain(scores) for _ in range(REPEATS)][-1],
    )
    print(f"Sinkhorn, largest difference {float((pair[0]() - pair[1]()).abs().max()):.1e}")
    ratio("Sinkhorn", [(spent(pair[0])[0], spent(pair[1])[0]) for _ in range(args.rounds * 5)], "plain")
    if args.faiss:
        sys.path.append(args.faiss)
        x, rounds = made(), dict[str, list[tuple[float, float]]]()
        for seed in range(args.rounds):
            start = x[torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))[:CLUSTERS]]
            other, beside = spent(partial(theirs, x, seed, start))
            print(f"seed {seed}: faiss {other:.1f} CPU-s, inertia {beside:.8g}", flush=True)
            for name, first in (("same start", start), ("k-means++", None)):
                one, (inertia, count) = spent(partial(ours, x, seed, first))
                rounds.setdefault(f"k-means, {name}", []).append((one, other))
                print(f"seed {seed}: {name} {one:.1f}, inertia {inertia:.8g}, {count} iterations", flush=True)
        for name, each in rounds.items():
            ratio(name, each, "faiss")
    return 0


if __name__ == "__main__":
    sys.exit(main())
