"""A search over settings between 0 and 1, judged without labels: many short runs, each in a folder of its own.

    OUT/plan.yaml            what is searched, and how; another search needs another folder
    OUT/runs/0003-07/        the eighth run of the fourth generation: its run, without checkpoints, and
    OUT/runs/0003-07/fitness.json  what came of it, written last: what is there is not done again
    OUT/runs/equal/          the run whose searched settings are all 1

A run's features of the held-out part are clustered, and how far the clusters' sizes are from Zipf's law is what the
search makes small (`objectives.zipf`). It knows nothing of labels. Where there are some, the clusters' purity is noted
for people, as a guard: noise with the right sizes scores as well.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from coview.comparison.genomes import Kind, strategy_of
from coview.data.executors import Executor
from coview.data.open import open_source
from coview.embedding.extract import extract
from coview.errors import CoviewError, UsageError
from coview.files import locked, read_json, read_yaml, write_aside
from coview.model import Model
from coview.objectives.contingency import purity
from coview.objectives.zipf import zipf_fit
from coview.training.loop import train
from coview.training.run import changes
from coview.training.settings import RunSettings, changed, run_from_dict, run_to_dict

EQUAL, _FITNESS, _PLAN = "equal", "fitness.json", "plan.yaml"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched and how.

    Attributes:
        run: of every evaluation, but for what is searched.
        over: names of settings, such as "method.weights.align/video/audio", each between 0 and 1.
        evaluations: runs in all, beside the one with equal settings.
        population: runs in a generation.
        clusters, exponent: of k-means, and of Zipf's law.
        view: whose features are judged; None: those of the method's first view.
        held: what they are of, the validation part of it; None: of the run's collection.
        seed: of the search; the runs have their own.
    """

    run: RunSettings
    over: tuple[str, ...]
    strategy: Kind = "cma"
    evaluations: int = 100
    population: int = 10
    clusters: int = 100
    exponent: float = 1.0
    view: str | None = None
    held: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.evaluations < 1 or self.clusters < 2 or not 0 <= self.exponent < math.inf:
            raise UsageError("a search needs evaluations >= 1, clusters >= 2 and a finite exponent >= 0")

    def plain(self) -> dict[str, Any]:
        """Return it as plain data, without how long it goes on."""
        rest = {name: value for name, value in vars(self).items() if name not in ("run", "over", "evaluations")}
        return {"run": run_to_dict(self.run), "over": list(self.over), **rest}


@dataclass(frozen=True)
class Evaluation:
    """One run of a search."""

    here: str  # the folder where the search was begun: names start from there
    folder: str
    genome: tuple[float, ...]
    settings: dict[str, Any]  # as in settings.yaml
    held: str
    clusters: int
    exponent: float
    view: str | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of a run.

    Attributes:
        name: its folder's.
        genome: the searched settings, in the search's order.
        unfit: KL to Zipf's law by posteriors, what is made small; infinity: `note` says why there is none.
        hard: the same by counts.
        purity: of the clusters, where there are labels; never part of the search.
    """

    name: str
    genome: list[float]
    unfit: float
    hard: float
    purity: float | None
    note: str = ""


def evolve(
    search: Search, out: Path, executor: Executor, tell: Callable[[int, int], None] = lambda done, total: None
) -> list[Judged]:
    """Search, and return what came of every run: the one of equal settings first, then in the order of the search.

    A stopped search goes on where it was, and can be given more evaluations.

    Raises:
        UsageError: the folder holds another search, a setting is unknown, or method and data do not fit together.
    """
    strategy = strategy_of(search.strategy, len(search.over), search.population, search.seed)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out, "evolve"):
        _plan(search, out)
        found = _judged(search, out, {EQUAL: (1.0,) * len(search.over)}, executor)
        for generation in range(-(-search.evaluations // search.population)):
            tell(len(found) - 1, search.evaluations)
            genomes = strategy.ask()
            left = min(search.population, search.evaluations + 1 - len(found))
            named = {f"{generation:04d}-{place:02d}": tuple(genomes[place].tolist()) for place in range(left)}
            new = _judged(search, out, named, executor)
            found += new
            if left == search.population:  # what is stored counts, to the last digit
                told = torch.tensor([one.genome for one in new], dtype=torch.float64)
                strategy.tell(told, torch.tensor([one.unfit for one in new], dtype=torch.float64))
        tell(len(found) - 1, search.evaluations)
    return found


def searched(run: RunSettings, over: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the settings that are searched: `over`, else those that the method's settings name.

    Raises:
        UsageError: neither names one.
    """
    own: Any = getattr(run.method_settings, "searched", list)
    names = tuple(over) or tuple(f"method.{name}" for name in own())
    if not names:
        raise UsageError(f"{run.method} does not say what to search: name settings, such as optimiser.momentum")
    return names


def best_of(found: list[Judged]) -> Judged:
    """Return the fittest run of a search; raises CoviewError where all failed."""
    best = min(found, key=lambda one: one.unfit)
    if not math.isfinite(best.unfit):
        raise CoviewError(f"all {len(found)} runs failed; the first: {found[0].note}")
    return best


def settings_of(search: Search, genome: tuple[float, ...] | list[float]) -> RunSettings:
    """Return the run of a genome; raises SettingsError where a setting is unknown or takes no such number."""
    return changed(search.run, dict(zip(search.over, genome, strict=True)))


def _plan(search: Search, out: Path) -> None:
    path, asked = out / _PLAN, search.plain()
    if path.is_file() and any(out.glob("runs/*/*")):  # a plan that led to no run at all binds nobody
        if differing := changes(read_yaml(path, "the plan of a search"), asked):
            listed = "\n".join(f"  - {line}" for line in differing)
            raise UsageError(f"{out} holds another search (stored -> asked):\n{listed}\nChoose another folder with -o")
        return
    write_aside(path, yaml.safe_dump(asked, sort_keys=False))


def _judged(search: Search, out: Path, genomes: dict[str, tuple[float, ...]], executor: Executor) -> list[Judged]:
    """Return what came of genomes by name, in their order; what is not there yet is run."""
    tasks = [
        Evaluation(
            here=str(Path.cwd()), folder=str(out / "runs" / name), genome=genome,
            settings=run_to_dict(settings_of(search, genome)),
            held=search.held or search.run.collection, clusters=search.clusters, exponent=search.exponent,
            view=search.view,
        )
        for name, genome in genomes.items()
        if not (out / "runs" / name / _FITNESS).is_file()
    ]  # fmt: skip
    for _ in executor.run(evaluate, tasks):
        pass
    return [_read(out / "runs" / name) for name in genomes]


def _read(folder: Path) -> Judged:
    path = folder / _FITNESS
    fields = read_json(path, "the fitness of a run", remedy="remove it: the run is judged again")
    try:
        unfit = {name: math.inf if fields[name] is None else float(fields[name]) for name in ("unfit", "hard")}
        genome = [float(value) for value in fields["genome"]]
        return Judged(name=folder.name, genome=genome, **unfit, purity=fields["purity"], note=fields["note"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); remove it: the run is judged again") from error


def evaluate(task: Evaluation) -> str:
    """Train one run, judge it, note what came of it, and return its folder.

    Raises:
        UsageError: method and data do not fit together; any other failure of the run is noted, and is its fitness.
    """
    os.chdir(task.here)  # on Ray, a process begins where it likes
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"unfit": None, "hard": None, "purity": None, "note": ""}
    try:
        settings = run_from_dict(task.settings)
        run = train(settings, folder / "run", resume=True, quiet=True)
        model = Model.from_run(run)
        source = open_source(task.held, model.needed, split="validation")
        view = task.view or next(iter(model.method.encoders))
        features = extract(model, source)
        if view not in features.clips:
            raise UsageError(f"--view {view}: the method has no such features; it has {', '.join(features.clips)}")
        there = features.present[view]
        fit = zipf_fit(features.values[view][there], task.clusters, exponent=task.exponent)
        labels = features.labels[there] if features.labels.numel() else features.labels
        known = bool((labels >= 0).any())
        found |= {"unfit": fit.soft, "hard": fit.hard, "purity": purity(fit.labels, labels) if known else None}
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # hundreds of runs: the model is enough
    except UsageError:
        raise
    except CoviewError as error:  # a loss that is not finite, for one
        found["note"] = str(error)
    write_aside(folder / _FITNESS, json.dumps({"genome": task.genome, **found}, indent=1) + "\n")
    return task.folder
