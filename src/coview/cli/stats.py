"""`coview stats`: estimate the means and deviations that a collection's sounds and pictures are normalised by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from coview.cli.following import free, normalising
from coview.cli.output import Output
from coview.cli.places import check_files, check_sources
from coview.errors import UsageError
from coview.methods import load_method, place_of, views_of
from coview.recipes import run_recipe
from coview.training.settings import load_run

DESCRIPTION = """Estimate the mean and deviation of every band of a collection's sound and of every channel of its
pictures, as a method's views make them. Training with --stats then normalises by them whichever views have
normalise = "statistics"; they are stored with the model. Without a file, published statistics serve.

Examples:
  coview stats my-collection --method avid -o my-statistics.json
  coview pretrain avid --collection my-collection --stats my-statistics.json -o my-run
  coview stats my-collection --settings my-run/settings.yaml -o my-statistics.json --workers 4
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    collection: tyro.conf.Positional[str]
    """A collection, a prepared or memory-mapped copy, or a world."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The file to write, JSON."""
    method: str = "xid"
    """Whose views are cut; its default settings, unless --settings, --recipe or --tiny says otherwise."""
    settings: Path | None = None
    """A run's settings.yaml, which also names the method."""
    recipe: str | None = None
    """A published configuration, such as av_ssrl.xid, which also names the method."""
    tiny: bool = False
    """Take the method's smallest settings, as `coview pretrain --tiny` does."""
    split: Literal["train", "validation", "test"] | None = "train"
    """The part to look at; what is measured later should not take part."""
    clips: int = 1
    """Cuts of every recording."""
    seed: int = 0
    """Of the places of the cuts, and of a world's clips."""
    workers: int = 0
    """Reading processes; 0 reads in this one. The numbers do not depend on it."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview stats", description=DESCRIPTION, args=argv)
    if arguments.clips < 1 or arguments.workers < 0:
        raise UsageError("--clips must be at least 1 and --workers at least 0")
    check_sources(arguments.collection)
    check_files(arguments.settings)
    place_of(arguments.method)  # a typing error is answered before anything is imported
    out = Output(json=arguments.json)
    from coview.data.open import open_source
    from coview.data.statistics import fit_statistics, save_statistics

    if arguments.settings is not None or arguments.recipe is not None:
        run = load_run(arguments.settings) if arguments.settings else run_recipe(arguments.recipe or "")
        slug, own = run.method, run.method_settings
    else:
        kind = load_method(arguments.method).Settings
        slug, own = arguments.method, kind.tiny() if arguments.tiny else kind()
    source = open_source(arguments.collection, views_of(slug, own), split=arguments.split, seed=arguments.seed)
    with out.steps() as show:
        moments, problems = fit_statistics(
            source,
            clips=arguments.clips,
            seed=arguments.seed,
            workers=arguments.workers,
            progress=lambda done, total: show("recordings", done, total),
        )
    save_statistics(moments, source, arguments.out)
    found = {
        name: {
            "rows": part.count,
            "mean": round(float(part.mean.mean()), 4),
            "std": round(float(part.deviation.mean()), 4),
            "values": len(part.mean),
        }
        for name, part in moments.items()
    }
    code = out.finish({"statistics": str(arguments.out), "recordings": len(source), **found}, problems)
    how: list[object] = ["--settings", arguments.settings] if arguments.settings else ["--tiny"] * arguments.tiny
    how += ["--recipe", arguments.recipe] if arguments.recipe and not arguments.settings else []
    how += normalising(own)
    where = ["--collection", arguments.collection, "--stats", arguments.out, "-o", free("my-run")]
    out.next("coview", "pretrain", slug, *how, *where)
    return code
