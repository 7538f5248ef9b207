"""The decisive experiment of every card that has one, with several seeds: the tables of docs/systems.md.

    python benchmarks/decisive.py                     # every experiment; three seeds, ten of the cheap toys
    python benchmarks/decisive.py swav stica --seeds 10
    python benchmarks/decisive.py --list

The experiments are the tests' own (tests/methods), so that a table and a test cannot come to differ. A row says in how
many seeds the figure passes what the card asks for, then the figure of every seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import decisive_pictures
import decisive_sound
import decisive_time
from decisive_sound import Figures

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / place) for place in ("", "methods", "evaluation")]


@dataclass(frozen=True)
class Experiment:
    """One card's experiment: `run(seed)` yields its figures."""

    run: Callable[[int], Figures]
    seeds: int = 3


EXPERIMENTS: dict[str, Experiment] = {
    "contrastive": Experiment(decisive_sound.contrastive),
    "many-views": Experiment(decisive_sound.many_views),
    "cav-mae": Experiment(decisive_sound.cav_mae),
    "avid": Experiment(decisive_sound.avid),
    "l3": Experiment(decisive_sound.l3),
    "swav": Experiment(decisive_sound.swav, seeds=10),
    "stica": Experiment(decisive_sound.stica, seeds=10),
    "xdc": Experiment(decisive_sound.xdc),
    "clusters": Experiment(decisive_sound.clusters),
    "denoising-autoencoder": Experiment(decisive_pictures.denoising),
    "context-encoder": Experiment(decisive_pictures.context_encoder),
    "relative-position": Experiment(decisive_pictures.relative_position),
    "split-brain": Experiment(decisive_pictures.split_brain),
    "colorization": Experiment(decisive_pictures.colorization),
    "larsson-colorization": Experiment(decisive_pictures.larsson_colorization),
    "context-discovery": Experiment(decisive_pictures.context_discovery),
    "image-transfer": Experiment(decisive_pictures.image_transfer),
    "weak-captions": Experiment(decisive_time.weak_captions),
    "video-triplet": Experiment(decisive_time.video_triplet),
    "steady-features": Experiment(decisive_time.steady_features),
    "physical-prediction": Experiment(decisive_time.physical_prediction),
    "ambient-sound": Experiment(decisive_time.ambient_sound),
    "ccl": Experiment(decisive_time.ccl, seeds=5),
    "uavm": Experiment(decisive_time.uavm),
    "cloven": Experiment(decisive_time.cloven),
    "mov": Experiment(decisive_time.mov),
    "vilbert": Experiment(decisive_time.vilbert),
    "elo": Experiment(decisive_time.elo),
}


def table(name: str, seeds: int) -> str:
    """Run an experiment and return its rows as Markdown."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for seed in range(seeds):
        for what, value, passes in EXPERIMENTS[name].run(seed):
            found.setdefault(what, []).append((value, passes))
        print(f"{name}, seed {seed} done", file=sys.stderr, flush=True)
    return "\n".join(
        f"| {what} | {sum(passes for _, passes in values)} of {len(values)} | "
        f"{' '.join(f'{value:.3g}' for value, _ in values)} |"
        for what, values in found.items()
    )


def main() -> int:
    """Run what was asked; returns the exit code."""
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which experiments; none: all")
    parser.add_argument("--seeds", type=int, help="instead of each experiment's own number")
    parser.add_argument("--list", action="store_true", help="list the experiments")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name}: {one.run.__doc__}" for name, one in EXPERIMENTS.items()))
        return 0
    if unknown := sorted(set(arguments.names) - set(EXPERIMENTS)):
        parser.error(f"no experiment {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    print("| measured | passes | seeds 0, 1, ... |\n|---|---|---|")
    for name in arguments.names or EXPERIMENTS:
        print(table(name, arguments.seeds or EXPERIMENTS[name].seeds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
