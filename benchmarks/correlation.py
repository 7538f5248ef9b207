"""CCA side by side: coview, cca-zoo, scikit-learn, each in a process of its own; and CCA of a million rows from disk.

    python benchmarks/correlation.py memory --peers PEERS/bin/python         # 100,000 rows, 512 + 512 columns, k = 32
    python benchmarks/correlation.py disk --folder FOLDER                    # 1,000,000 rows of float32, streamed
    python benchmarks/correlation.py robust                                  # gross errors
    python benchmarks/correlation.py precision                               # digits lost by float32 products

PEERS is an environment with cca-zoo and scikit-learn. Views are X = Z A + noise, Y = Z B + noise with 32 shared factors
of falling strength. A contender reads the views into memory, untimed; timed is the fit: CPU-seconds (user and system,
one thread of BLAS) and the peak of resident memory above what it was before the fit (libraries and views). The floor is
the symmetric product X'X of the joined, centred float64 views by BLAS through NumPy, plus the decomposition. Wall time
is not reported: it says more about the other users of a shared computer. Prints one JSON object per contender.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FACTORS, COMPONENTS, BLOCK = 32, 32, 8192
OURS = ("floor", "coview", "coview-float32")
PEERS = ("cca-zoo CCA", "cca-zoo MCCA", "scikit-learn CCA, 1 component")


def make_views(folder: Path, rows: int, columns: int, dtype: str, seed: int = 0) -> list[Path]:
    """Write x.npy and y.npy (rows, columns) in blocks, unless they are there."""
    paths = [folder / f"{name}-{rows}-{columns}-{dtype}.npy" for name in "xy"]
    if all(path.exists() for path in paths):
        return paths
    draw = np.random.default_rng(seed)
    strength = np.linspace(2.0, 0.2, FACTORS)[:, None]
    maps = [(strength * draw.normal(size=(FACTORS, columns)) / FACTORS**0.5).astype(np.float32) for _ in paths]
    arrays = [np.lib.format.open_memmap(path, "w+", dtype, (rows, columns)) for path in paths]
    for start in range(0, rows, BLOCK):
        size = min(BLOCK, rows - start)
        factors = draw.standard_normal((size, FACTORS), dtype=np.float32)
        for array, weights in zip(arrays, maps, strict=True):
            array[start : start + size] = (
                factors @ weights + draw.standard_normal((size, columns), dtype=np.float32) + 3
            )
    return paths


def peak_memory() -> int:
    """Return the most resident memory so far in kB; getrusage would count the parent's, which made the views."""
    return int(next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM")).split()[1])


def measured(fit: Callable[[], Any]) -> dict[str, Any]:
    """Run a fit that returns correlations; return CPU-seconds, memory above the start, and their sum."""
    before, start = peak_memory(), time.process_time()
    correlations = np.asarray(fit())
    seconds, peak = time.process_time() - start, peak_memory()
    return {
        "cpu_seconds": round(seconds, 2),
        "memory_above_start_mb": round((peak - before) / 1024),
        "peak_mb": round(peak / 1024),
        "components": len(correlations),
        "first": round(float(correlations[0]), 10),
        "sum": round(float(correlations.sum()), 8),
    }


def contend(name: str, paths: list[Path]) -> dict[str, Any]:
    """Fit one contender on the views in memory; runs in a process and an environment of its own."""
    if name == "disk":
        return from_disk(paths)
    x, y = (np.load(path) for path in paths)
    if name == "coview-float32":
        x, y = x.astype(np.float32), y.astype(np.float32)
    if name == "floor":
        return measured(lambda: _floor(x, y))
    if name.startswith("coview"):
        from coview.correlation.cca import CCA

        return measured(lambda: CCA(COMPONENTS).fit(x, y).correlations_)
    if name.startswith("scikit-learn"):
        from sklearn import cross_decomposition

        def sklearn_fit() -> list[float]:
            scores = cross_decomposition.CCA(1).fit(x, y).transform(x, y)
            return [float(np.corrcoef(scores[0][:, 0], scores[1][:, 0])[0, 1])]

        return measured(sklearn_fit)
    import cca_zoo.linear

    model = getattr(cca_zoo.linear, name.split()[1])(n_components=COMPONENTS)
    figures = measured(lambda: (model.fit([x, y]), np.zeros(1))[1])
    pairs = zip(*(scores.T for scores in model.transform([x, y])), strict=True)
    correlations = [float(np.corrcoef(a, b)[0, 1]) for a, b in pairs]
    return figures | {"components": COMPONENTS, "first": round(correlations[0], 10), "sum": round(sum(correlations), 8)}


def _floor(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Any:
    """The product and the decomposition alone: the joined, centred matrix is made before the clock starts."""
    joined = np.hstack([x, y])
    joined -= joined.mean(0)
    start = time.process_time()
    covariance = joined.T @ joined / (len(x) - 1)
    width = x.shape[1]
    left, right = (np.linalg.cholesky(covariance[s, s]) for s in (slice(0, width), slice(width, None)))
    whitened = np.linalg.solve(right, np.linalg.solve(left, covariance[:width, width:]).T)
    values = np.linalg.svd(whitened, compute_uv=False)[:COMPONENTS]
    print(json.dumps({"floor_cpu_seconds": round(time.process_time() - start, 2)}), file=sys.stderr)
    return values


def in_process(interpreter: str, name: str, paths: list[Path]) -> dict[str, Any]:
    """Run `contend` under another interpreter, with one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [interpreter, __file__, "contend", "--name", name, "--paths", *map(str, paths)]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"contender": name, "failed": done.stderr.strip().splitlines()[-1:]}
    extra = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return {"contender": name, **json.loads(done.stdout), **(extra[0] if extra else {})}


def from_disk(paths: list[Path]) -> dict[str, Any]:
    """Fit from files in blocks, with the rate of reading alone beside it."""
    from coview.correlation.cca import CCA
    from coview.correlation.tables import read_blocks

    start = time.process_time()
    for _ in read_blocks(paths):
        pass
    reading = time.process_time() - start
    return {"reading_alone_cpu_seconds": round(reading, 2)} | measured(
        lambda: CCA(COMPONENTS).fit_streamed(paths).correlations_
    )


def spoilt(rows: int, share: float, seed: int) -> tuple[Any, list[Any], list[Any]]:
    """Return 3 shared factors, clean views of 20 columns, and with a share of cells off by up to 6 deviations."""
    draw = np.random.default_rng(seed)
    factors = draw.normal(size=(rows, 3))
    clean, views = [], []
    for _ in "xy":
        view = np.hstack([factors, draw.normal(size=(rows, 2))]) @ draw.normal(size=(5, 20))
        clean.append(view / view.std(0) + 0.05 * draw.normal(size=view.shape))
        views.append(clean[-1] + (draw.random(view.shape) < share) * draw.uniform(-6, 6, size=view.shape))
    return factors, clean, views


def robust(rows: int, share: float, seeds: int) -> dict[str, Any]:
    """Return, by model, the mean squared canonical correlations of the factors with the first view's scores."""
    from coview.correlation.cca import CCA
    from coview.correlation.robust import RobustCCA

    result: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        factors, clean, views = spoilt(rows, share, seed)
        for name, model, data in (
            ("clean data, plain CCA", CCA(3), clean),
            ("plain CCA", CCA(3), views),
            ("joint form", RobustCCA(3), views),
            ("projection form", RobustCCA(3, form="projection", sparsity=0.02), views),
        ):
            start = time.process_time()
            model.fit(data)
            spent = time.process_time() - start
            scores = model.transform(model.clean_ if name == "joint form" else data)[0]
            found = float((CCA(3).fit(factors, scores).correlations_ ** 2).mean())
            row = result.setdefault(name, {"recovered": [], "cpu_seconds": [], "iterations": []})
            row["recovered"].append(round(found, 4))
            row["cpu_seconds"].append(round(spent, 2))
            row["iterations"].append(getattr(model, "n_iter_", 0))
    return {"rows": rows, "share": share, **result}


def precision() -> dict[str, Any]:
    """Largest error of the 32 correlations when products of float32 blocks are made in float32, and their time."""
    import torch

    from coview.correlation.cca import CCA
    from coview.correlation.moments import Moments
    from coview.correlation.scatter import Scatter

    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        x, y = (torch.from_numpy(np.load(path)) for path in make_views(Path(folder), 50_000, 512, "float32"))
    exact = CCA(COMPONENTS).fit(x, y).spectrum_
    for block in (1024, 8192):
        start = time.process_time()
        state, total = Scatter(1024), torch.zeros(1024, 1024, dtype=torch.float64)
        joined = torch.cat([x, y], dim=1)
        centre = joined[:block].mean(0)
        for rows in joined.split(block):
            moved = rows - centre
            total += moved.T @ moved
            state.count += len(rows)
            state.mean += moved.sum(0, dtype=torch.float64)
        mean = state.mean / state.count
        moments = Moments([512, 512])
        scatter = total - state.count * torch.outer(mean, mean)
        moments.patterns[True, True] = Scatter.of(state.count, mean, scatter)
        values = CCA(COMPONENTS).fit_moments(moments).spectrum_
        result[f"float32 products, blocks of {block}"] = {
            "largest_error": float(abs(values - exact)[:COMPONENTS].max()),
            "cpu_seconds": round(time.process_time() - start, 2),
        }
    for block in (1024, 8192):
        start = time.process_time()
        state = Scatter(1024)
        state.update([x, y], block)
        result[f"float64 products, blocks of {block}"] = {"cpu_seconds": round(time.process_time() - start, 2)}
    return result


def main() -> None:
    """Measure what was asked and print one JSON object per line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "disk", "robust", "precision", "contend"))
    parser.add_argument("--peers", help="interpreter of an environment with cca-zoo and scikit-learn")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--columns", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="where the views are kept; a temporary folder without it")
    parser.add_argument("--name", nargs="+", help="contenders; all without it")
    parser.add_argument("--paths", type=Path, nargs=2, help="of one contender's views")
    arguments = parser.parse_args()
    if arguments.what == "contend":
        print(json.dumps(contend(arguments.name[0], arguments.paths)))
        return
    if arguments.what == "robust":
        for rows, share in ((300, 0.0), (300, 0.02), (300, 0.05), (300, 0.1), (10_000, 0.05)):
            print(json.dumps(robust(rows, share, seeds=3 if rows == 300 else 1)), flush=True)
        return
    if arguments.what == "precision":
        print(json.dumps(precision()))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.what == "disk":
            paths = make_views(Path(folder), arguments.rows or 1_000_000, arguments.columns, "float32")
            size = {"rows": arguments.rows or 1_000_000, "columns": arguments.columns}
            print(json.dumps(size | in_process(sys.executable, "disk", paths)))
            return
        paths = make_views(Path(folder), arguments.rows or 100_000, arguments.columns, "float64")
        for name in arguments.name or OURS + (PEERS if arguments.peers else ()):
            interpreter = arguments.peers if name in PEERS else sys.executable
            print(json.dumps(in_process(interpreter, name, paths)), flush=True)


if __name__ == "__main__":
    main()
