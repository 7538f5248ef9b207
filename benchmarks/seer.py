"""SEER with a published RegNetY: divided over processes it learns as data parallelism does, and needs less memory.

    python benchmarks/seer.py FOLDER                 # RegNetY-8GF, 2 processes; continued on 1, 2 and 4
    python benchmarks/seer.py FOLDER --recompute     # with activations computed again

Trains the 42 M parameters of RegNetY-8GF with its published head (two layers, 3000 prototypes) on small crops of
`objects-av`, by SwAV's LARC, in float32 under torchrun: once with whole parameters on every process
(DistributedDataParallel), once divided (`fully_shard`). Compares losses and weights after every process count, and the
peak of memory of each process with the dry run's estimate. Then takes the divided run's checkpoint from the middle and
goes on with it on 1, 2 and 4 processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from coview import parallel
from coview.data.augment import PRESETS
from coview.data.views import ImageView
from coview.methods.parts.crops import SmallCrops
from coview.methods.seer import SEERSettings
from coview.training import checkpoint
from coview.training.dry_run import describe
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

HALF = 3  # steps before the checkpoint; as many follow
WORLDS = (1, 2, 4)


def settings(options: argparse.Namespace, sharding: str) -> RunSettings:
    """Return the run: the published network on small crops of a world's pictures."""
    return RunSettings(
        method="seer",
        method_settings=SEERSettings(
            view=ImageView(size=options.size, margin=1.0, normalise="clip", area=(0.14, 1.0)),
            encoder=f"regnety-{options.network}",
            small=SmallCrops(number=2, size=options.size // 2, area=(0.05, 0.14)),
            hidden=(2016,),
            embedding=128,
            prototypes=3000,
            freeze=0,
        ),
        collection="objects-av",
        augment=PRESETS["swav"],
        train=TrainSettings(
            steps=2 * HALF,
            batch_size=options.batch,
            device="cpu",
            workers=0,
            checkpoint_every=HALF,
            sharding=sharding,
            recompute=options.recompute,
        ),
        optimiser=OptimiserSettings(kind="larc-swav", lr=options.rate, weight_decay=1e-5),
        schedule=ScheduleSettings(kind="constant"),
    )


def held(word: str) -> float:
    """Return a line of this process's status in MiB; 0 where the system has none."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(word)), 0.0)


def work(options: argparse.Namespace, out: Path) -> None:
    """Be one process of a run, and note the most memory that it held above what it started with."""
    torch.set_num_threads(1)
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, rank = held("VmRSS"), parallel.rank()
    train(settings(options, options.sharding), out, resume=options.resume, quiet=True)
    (out / f"peak-{rank}.json").write_text(json.dumps(held("VmHWM") - before))


def launch(options: argparse.Namespace, world: int, out: Path, sharding: str, resume: bool = False) -> dict[str, Any]:
    """Run `work` in several processes; return the losses, the peaks of memory in MiB and the seconds of a step."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", __file__]
    words += [str(out), "--sharding", sharding, *(["--resume"] if resume else [])]
    words += [f"--{name}={getattr(options, name)}" for name in ("network", "size", "batch", "rate")]
    words += ["--recompute"] if options.recompute else []
    subprocess.run(words, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    seconds = read_lines(out / "timings.jsonl")[-1]["seconds"]
    return {
        "losses": [line["loss"] for line in read_lines(out / "metrics.jsonl")],
        "peak_megabytes": [round(json.loads((out / f"peak-{rank}.json").read_text()), 1) for rank in range(world)],
        "seconds_per_step": round(seconds / (HALF if resume else 2 * HALF), 2),
    }


def apart(losses: list[float], others: list[float]) -> float:
    """Return the largest difference relative to the second."""
    return max(abs(a - b) / abs(b) for a, b in zip(losses, others, strict=True))


def weights_apart(one: Path, other: Path, step: int) -> dict[str, float]:
    """Return how far two runs' weights and buffers are apart, |a - b| / |b|: median and largest of all tensors."""
    first, second = (checkpoint.load(run / "checkpoints" / f"step-{step:08d}").model for run in (one, other))
    if list(first) != list(second):
        raise SystemExit(f"{one} and {other} have other names of tensors")
    gaps = torch.stack(
        [
            (a.double() - second[n].double()).norm() / second[n].double().norm().clamp(min=1e-12)
            for n, a in first.items()
        ]
    )
    return {"median": float(gaps.median()), "largest": float(gaps.max())}


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything and return the figures."""
    plans = {"none": folder / "whole", "full": folder / "divided"}
    runs = {sharding: launch(options, 2, out, sharding) for sharding, out in plans.items()}
    estimates = {
        sharding: describe(settings(options, sharding))["memory_megabytes_by_processes"]["2"] for sharding in plans
    }
    continued = {}
    for world in WORLDS:
        out = folder / f"on-{world}"
        # As if it had been killed after the first half.
        shutil.copytree(plans["full"], out, ignore=shutil.ignore_patterns(f"step-{2 * HALF:08d}", "peak-*"))
        continued[world] = launch(options, world, out, "full", resume=True)
    reference = runs["full"]["losses"]
    return {
        "options": {name: getattr(options, name) for name in ("network", "size", "batch", "rate", "recompute")},
        "parameters": sum(describe(settings(options, "none"))["parameters"][n] for n in ("trained",)),
        "whole": runs["none"] | {"estimate_megabytes": estimates["none"]},
        "divided": runs["full"] | {"estimate_megabytes": estimates["full"]},
        "divided_from_whole": {
            "losses": apart(reference, runs["none"]["losses"]),
            "weights": {step: weights_apart(plans["full"], plans["none"], step) for step in (HALF, 2 * HALF)},
        },
        "continued_from_divided": {
            world: {"losses": apart(run["losses"][HALF:], reference[HALF:])} | run for world, run in continued.items()
        },
    }


def main() -> None:
    """Compare, and print one JSON object; or be a worker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", default="8gf", help="a RegNetY: 8gf, 16gf, ...")
    parser.add_argument("--size", type=int, default=64, help="pixels of the large crops")
    parser.add_argument("--batch", type=int, default=8, help="pictures of a step, all processes together")
    parser.add_argument("--rate", type=float, default=0.3, help="learning rate")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--sharding", choices=["none", "full"], help=argparse.SUPPRESS)
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sharding is not None:
        work(options, options.folder)
        return
    print(json.dumps(compare(options, options.folder), indent=1))


if __name__ == "__main__":
    main()
