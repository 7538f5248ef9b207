"""Training from features on disk: what the loader alone gives, and a run of `infonce` with two linear heads, per core.

    OMP_NUM_THREADS=1 python benchmarks/loader.py --stored [--steps 400]

Two .npy files of 512 numbers a recording (40,000 recordings, drawn), batches of 256, one thread. The run is
`training.loop.train` itself: heads of 128 without hidden layers, Adam, no checkpoint and no look before its end.
Figures are per CPU-second of this process, the middle of several rounds; `loader_share` is what the loader takes of a
step.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from coview.data.features_source import FeatureSource, open_features
from coview.data.loader import Loader
from coview.data.views import FeaturesView
from coview.methods.infonce import InfoNCESettings
from coview.methods.recipe import OptimiserSettings
from coview.training.loop import train
from coview.training.settings import RunSettings, TrainSettings

ROWS, WIDE, BATCH, ROUNDS = 40_000, 512, 256, 5
VIEWS = ("left", "right")


def open_made(folder: Path) -> FeatureSource:
    """Write the files that are not there yet, and open them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(VIEWS):
        if not (folder / f"{name}.npy").exists():
            np.save(folder / f"{name}.npy", np.random.default_rng(number).standard_normal((ROWS, WIDE), np.float32))
    return open_features(",".join(f"{name}={folder / name}.npy" for name in VIEWS))


def middle(work: Callable[[], int]) -> float:
    """Return the median over rounds of samples per CPU-second of `work`, which returns how many it made."""
    found = []
    for _ in range(ROUNDS):
        before = _seconds()
        count = work()
        found.append(count / (_seconds() - before))
    return statistics.median(found)


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, steps: int) -> dict[str, float]:
    """Return samples per CPU-second of the loader and of the run, and the loader's share of the run's time."""
    torch.set_num_threads(1)
    source = open_made(folder)
    stream = Loader(source, batch_size=BATCH, seed=0).stream(0)
    loader = middle(lambda: sum(len(batch) for batch in islice(stream, steps)))
    others = {name: FeaturesView(dim=WIDE) for name in VIEWS}
    settings = RunSettings(
        method="infonce",
        method_settings=InfoNCESettings(views=VIEWS, others=others, hidden=(), head_batchnorm=False, embedding=128),
        collection="made",
        split=None,
        train=TrainSettings(
            steps=2 * steps, batch_size=BATCH, device="cpu", workers=0, watch_every=10**6, checkpoint_every=10**6
        ),
        optimiser=OptimiserSettings(lr=1e-3),
    )
    marks: dict[int, float] = {}

    def mark(done: int, line: object) -> None:
        marks[done] = _seconds()

    def run() -> float:
        with tempfile.TemporaryDirectory() as out:
            train(settings, Path(out) / "run", source=source, after_step=mark, quiet=True)
        return steps * BATCH / (marks[2 * steps - 1] - marks[steps - 1])  # starting and the end are left out

    whole = statistics.median(run() for _ in range(ROUNDS))
    return {"stored_loader": loader, "stored_run": whole, "loader_share": whole / loader}
