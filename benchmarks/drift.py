"""How far runs on other numbers of processes drift apart: what 'equal up to rounding' comes to over a training.

    python benchmarks/drift.py                 # xid, swav, av-vicreg and cma on digits-av, 1, 2 and 4 gloo processes
    python benchmarks/drift.py xid --steps 200

Every run learns from the same samples in the same order. A row is the relative difference of the loss from that of one
process after so many steps, and of all weights at the end (norm of the difference over the norm).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

import worlds  # noqa: E402

from coview.training.loop import train  # noqa: E402
from coview.training.run import read_lines  # noqa: E402
from coview.training.settings import recommended  # noqa: E402

WORLDS = (1, 2, 4)


def run(slug: str, steps: int, out: str) -> None:
    """Train the smallest form of a method on 16 samples a step; called on every process."""
    start = recommended(slug, tiny=True)
    settings = dataclasses.replace(
        start,
        collection="digits-av:A",
        train=dataclasses.replace(start.train, steps=steps, epochs=None, batch_size=16, device="cpu", workers=0),
    )
    train(settings, Path(out), quiet=True)


def measured(slug: str, steps: int) -> None:
    """Print the table of one method."""
    marks = [mark for mark in (1, 5, 10, 20, 50, 100, 200, 500) if mark <= steps]
    losses, weights = {}, {}
    for world in WORLDS:
        with tempfile.TemporaryDirectory() as folder:
            worlds.run(world, run, slug, steps, f"{folder}/run")
            log = {entry["step"]: entry["loss"] for entry in read_lines(Path(folder) / "run" / "metrics.jsonl")}
            losses[world] = [log[mark] for mark in marks]
            state = load_file(Path(folder) / "run" / "model" / "model.safetensors")
            weights[world] = torch.cat([value.double().flatten() for value in state.values()])
    for world in WORLDS[1:]:
        apart = [abs(one - other) / abs(one) for one, other in zip(losses[1], losses[world], strict=True)]
        last = float((weights[1] - weights[world]).norm() / weights[1].norm())
        print(f"| {slug} | {world} | " + " | ".join(f"{value:.1e}" for value in (*apart, last)) + " |")


def main() -> None:
    """Print the difference for each method and number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=["xid", "swav", "av-vicreg", "cma"])
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    for slug in arguments.methods:
        measured(slug, arguments.steps)


if __name__ == "__main__":
    main()
