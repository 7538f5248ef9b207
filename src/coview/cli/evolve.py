"""`coview evolve METHOD`: look for settings, such as the weights of many losses, without labels."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from coview.cli.output import Output
from coview.cli.places import check_files, check_sources
from coview.errors import UsageError
from coview.methods import place_of

if TYPE_CHECKING:
    from coview.comparison.evolve import Judged, Search

DESCRIPTION = """Search over settings between 0 and 1 by many short runs, without labels: what counts is how closely the
sizes of the clusters of a run's features, of the validation part, follow Zipf's law (ELo, arXiv 2002.12177).

The method `elo` says itself what is searched, the weights of its tasks; of any other, --over names settings. One run
more has all of them at 1, to compare with. Every run keeps a folder of its own, and a stopped call goes on where it was
when it is given again, or with more --evaluations. Writes evolve.json, evolve.md and best.yaml, the settings of the
best run, to start a longer one from. Where there are labels, the purity of the clusters is told; the search never sees
it: clusters of noise can have Zipf's sizes as well.

Examples:
  coview evolve elo --collection my-collection -o evolved --set train.steps=2000 --evaluations 200
  coview evolve elo --collection digits-av:A --tiny --set train.steps=50 --clusters 10 --evaluations 20 -o evolved
  coview pretrain elo --settings evolved/best.yaml --train.steps 100000 -o my-run
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    method: tyro.conf.Positional[str]
    """Short name of a method."""
    collection: str
    """Collection folder, memory-mapped set or world that is learnt from."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the runs and what was found."""
    settings: Path | None = None
    """A settings.yaml that the runs start from, whole or in part."""
    tiny: bool = False
    """Start from the method's smallest settings."""
    set: tuple[str, ...] = ()
    """NAME=VALUE changes a setting of all runs, such as train.steps=200 or method.links=2."""
    over: tuple[str, ...] = ()
    """Settings that are searched, each from 0 to 1, such as method.weights.order/video; none: the method's own."""
    strategy: Literal["cma", "tournament", "random"] = "cma"
    """Covariance matrix adaptation (needs the extra `evolution`), (mu + lambda) with tournaments, or uniform draws."""
    evaluations: int = 100
    """Runs."""
    population: int = 10
    """Runs in a generation, which can be done at the same time."""
    clusters: int = 100
    """Clusters of k-means."""
    exponent: float = 1.0
    """Of Zipf's law; 0: clusters of equal sizes."""
    view: str | None = None
    """Whose features are judged; none: those of the method's first view."""
    held: str | None = None
    """What the features are of, where --collection has no validation part; memory-mapped sets need it."""
    seed: int = 0
    """Of the search."""
    executor: Literal["auto", "serial", "processes", "ray"] = "auto"
    """Who does the runs; auto: processes."""
    workers: int | None = 1
    """Runs at a time; 0 works in this process."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview evolve", description=DESCRIPTION, args=argv)
    place_of(arguments.method)
    check_sources(arguments.collection, arguments.held)
    check_files(*filter(None, [arguments.settings]))
    from coview.parallel import world_size

    if world_size() > 1:
        raise UsageError("evolve starts its runs itself: call it without torchrun and srun, or with --executor ray")
    from coview.comparison.evolve import best_of, evolve
    from coview.data.executors import choose_executor

    out = Output(json=arguments.json)
    search = read(arguments)
    executor = choose_executor("processes" if arguments.executor == "auto" else arguments.executor, arguments.workers)
    with out.steps() as show:
        try:
            found = evolve(search, arguments.out, executor, lambda done, total: show("runs", done, total))
        except (KeyboardInterrupt, SystemExit):
            out.say("stopped; the same command goes on from here")
            raise
    best = best_of(found)
    write(search, found, best, arguments.out)
    shown = {name: round(value, 4) for name, value in zip(search.over, best.genome, strict=True)}
    rows = {"best": best, "equal": found[0]}
    result = {name: {"unfit": one.unfit, "hard": one.hard, "purity": one.purity} for name, one in rows.items()}
    failed = [(one.name, one.note) for one in found if not math.isfinite(one.unfit)]
    code = out.finish({"settings": shown, **result, "runs": len(found)}, failed)
    out.next("coview", "pretrain", arguments.method, "--settings", arguments.out / "best.yaml", "-o", "my-run")
    return code


def read(arguments: Arguments) -> Search:
    """Return what is searched; raises UsageError where a setting is unknown, or neither command nor method names one.

    Every setting is tried at 1 before anything is trained.
    """
    from coview.comparison.evolve import Search, searched, settings_of
    from coview.comparison.plan import value_of
    from coview.training.settings import changed, load_run, recommended

    base = dataclasses.replace(recommended(arguments.method, tiny=arguments.tiny), collection=arguments.collection)
    if arguments.settings:
        base = dataclasses.replace(load_run(arguments.settings, base), collection=arguments.collection)
    pairs = [text.partition("=") for text in arguments.set]
    if wrong := [name + sign for name, sign, value in pairs if not name or not sign or not value]:
        raise UsageError(f"--set {wrong[0]}: expected NAME=VALUE, such as train.steps=200")
    base = changed(base, {name: value_of(f"{name}={value}") for name, _, value in pairs})
    search = Search(
        run=base, over=searched(base, arguments.over), strategy=arguments.strategy, evaluations=arguments.evaluations,
        population=arguments.population, clusters=arguments.clusters, exponent=arguments.exponent, view=arguments.view,
        held=arguments.held, seed=arguments.seed,
    )  # fmt: skip
    settings_of(search, (1.0,) * len(search.over))
    return search


def write(search: Search, found: list[Judged], best: Judged, out: Path) -> None:
    """Write the search's table, for machines and for people, and the settings of its best run."""
    import yaml

    from coview.comparison.evolve import settings_of
    from coview.files import write_aside
    from coview.training.settings import run_to_dict

    rows = [dataclasses.asdict(one) for one in found]
    plain = [{key: None if value == math.inf else value for key, value in row.items()} for row in rows]
    write_aside(
        out / "evolve.json", json.dumps({"over": search.over, "best": best.name, "runs": plain}, indent=1) + "\n"
    )
    lines = ["| run | KL, posteriors | KL, counts | purity (not searched) |", "|---|---|---|---|"]
    for one in sorted(found, key=lambda one: one.unfit):
        purity = "" if one.purity is None else f"{one.purity:.3f}"
        lines.append(f"| {one.name} | {one.unfit:.4f} | {one.hard:.4f} | {purity} |")
    write_aside(out / "evolve.md", "\n".join(lines) + "\n")
    settings = run_to_dict(settings_of(search, best.genome))
    write_aside(out / "best.yaml", yaml.safe_dump(settings, sort_keys=False))
