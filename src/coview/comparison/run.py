"""One run of a comparison, from training to figures.

Every run is a folder with `compare.json`, written last; what is there is not done again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from coview.comparison.plan import Comparison, Task, plan
from coview.comparison.table import Outcome
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.errors import CoviewError, UsageError
from coview.evaluation.controls import random_weights
from coview.evaluation.protocols import evaluate
from coview.evaluation.runs import judge, records_of
from coview.evaluation.stored import measurements
from coview.evaluation.verdict import idle_steps
from coview.files import locked, read_json, read_tensors, write_aside, write_tensors
from coview.model import Model
from coview.training.loop import train
from coview.training.run import changes, read_lines
from coview.training.settings import run_from_dict
from coview.training.setup import build_method

OUTCOME = "compare.json"  # of a finished run, in its folder; written last
ITEMS = "items.safetensors"  # what each test item contributed to its figures
_REMEDY = "remove it: the run is measured again, from where its training stands"


def stored(task: Task) -> Outcome | None:
    """Return a finished run's outcome; None where there is none yet.

    Raises:
        UsageError: it is of other settings.
    """
    folder = Path(task.folder)
    if not (folder / OUTCOME).is_file() or stored_at(folder).failed:  # what failed is tried again
        return None
    found = _read(folder).get("settings")
    if changed := changes(found, task.settings):
        listed = "\n".join(f"  - {line}" for line in changed)
        raise UsageError(
            f"{folder}: finished with other settings (stored -> asked):\n{listed}\nChoose another folder with -o"
        )
    return stored_at(folder)


def stored_at(folder: Path) -> Outcome:
    """Return the outcome of a finished run's folder.

    Raises:
        UsageError: a file of it is damaged; names it.
    """
    path, fields = folder / OUTCOME, _read(folder)
    known = {each.name for each in dataclasses.fields(Outcome)} - {"items"}
    try:
        rows = [m.row() for m in measurements(fields.get("results"), path)]
        items = read_tensors(folder / ITEMS) if (folder / ITEMS).is_file() else {}
        problems = [(str(what), str(why)) for what, why in fields.get("problems", [])]
        plain = {name: value for name, value in fields.items() if name in known}
        return Outcome(**{**plain, "results": rows, "items": items, "problems": problems})
    except (TypeError, ValueError, OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as the outcome of a run ({error}); {_REMEDY}") from error


def _read(folder: Path) -> dict[str, Any]:
    return read_json(folder / OUTCOME, "the outcome of a run", remedy=_REMEDY)


def perform_all(asked: Comparison) -> list[Outcome]:
    """Make all runs of a comparison that are not finished, one after another, and return the outcomes of all."""
    tasks = plan(asked, lambda text: None)
    for task in sorted(tasks, key=lambda task: bool(task.start)):  # those that start from another run's weights last
        if stored(task) is None:
            perform(task)
    return [stored_at(Path(task.folder)) for task in tasks]


def perform(task: Task) -> str:
    """Train and measure one run, write its outcome, and return a sentence; a run that cannot be made says why.

    One that another call makes at this moment is left to it: nothing is written.

    Raises:
        CoviewError: nothing can be written there, or the run failed.
    """
    folder = Path(task.folder)
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder, "compare"))
        except OSError as error:
            raise CoviewError(f"{folder}: cannot be written ({error}); make room, then compare again") from error
        except UsageError as error:
            return f"{task.row}, seed {task.seed}: {error}"
        return _make(task, folder)


def _make(task: Task, folder: Path) -> str:
    if (found := stored(task)) is not None:
        return f"{task.row}, seed {found.seed}: made by another call"
    while task.start and not (Path(task.start).parent / OUTCOME).is_file():
        time.sleep(5)  # another process of torchrun still makes it
    try:
        outcome = measure(task, folder)
        text = ", ".join(
            f"{row['name'].partition('/')[0]} {row['value']:.3f}" for row in outcome.results if "probe" in row["name"]
        )
    except UsageError as error:  # method and data do not fit together; anything else stops the comparison
        # Random weights learn nothing: what they cannot be measured on is a fault, and no choice of method and data.
        failed = task.kind == "random"
        outcome = Outcome(row=task.row, seed=task.seed, note=str(error), failed=failed)
        text = f"{'failed' if failed else 'not run'}: {error}"
    fields = {each.name: getattr(outcome, each.name) for each in dataclasses.fields(Outcome) if each.name != "items"}
    try:
        if outcome.items:
            write_tensors(outcome.items, folder / ITEMS)
        write_aside(folder / OUTCOME, json.dumps({**fields, "settings": task.settings}, indent=1) + "\n")
    except (OSError, SafetensorError) as error:
        raise CoviewError(f"{folder / OUTCOME}: cannot be written ({error}); make room, then compare again") from error
    return f"{task.row}, seed {task.seed}: {text}"


def measure(task: Task, folder: Path) -> Outcome:
    """Train, unless the run is of random weights, and measure."""
    settings = run_from_dict(task.settings)
    samples, seconds, curve = 0, 0.0, list[dict[str, float]]()
    known = records_of(folder / "run")
    if task.kind == "random":
        method, source = build_method(settings)
        model = Model.of(method, Preprocess(method.views, settings.augment), source)
        model = random_weights(model, source, seed=task.seed)
    else:
        train(settings, folder / "run", resume=True, init_from=Path(task.start) if task.start else None, quiet=True)
        model = Model.from_run(folder / "run")
        begun = stored_at(Path(task.start).parent).samples if task.start else 0
        known = records_of(folder / "run")
        samples = begun + int(settings.train.steps or 0) * settings.train.batch_size
        seconds, curve = history(folder / "run", settings.train.batch_size, begun)
    views = model.needed
    fit = open_source(settings.collection, views, split="train")
    held = open_source(task.test, views, split=task.part)
    protocols = ["linear-probe"] + (["retrieval"] if task.method != "supervised-av" else [])
    result = evaluate(protocols, model, fit, held, name=task.row, seed=task.seed)
    if task.kind != "random":
        judge(result, known, held, views, task.row)
    return Outcome(
        row=task.row,
        seed=task.seed,
        results=[measurement.row() for measurement in result.results],
        items={m.name: m.items.to(torch.float32) for m in result.results if m.items is not None},
        samples=samples,
        seconds=seconds,
        curve=curve,
        plateau=known.summary.get("plateau"),
        idle=idle_steps(known.summary, known.metrics) / max(len(known.metrics), 1),
        problems=result.problems,
        weights=next(own["digest"] for weights in result.weights.values() for own in weights),
    )


def history(run: Path, batch_size: int, begun: int) -> tuple[float, list[dict[str, float]]]:
    """Return the seconds of training and what the nearest neighbours said on the way, after `begun` samples."""
    lines = read_lines(run / "metrics.jsonl")
    curve = [
        {"samples": begun + line["step"] * batch_size}
        | {name: value for name, value in line.items() if name.startswith("knn/")}
        for line in lines
        if any(name.startswith("knn/") for name in line)
    ]
    timings = read_lines(run / "timings.jsonl")
    return (float(timings[-1]["seconds"]) if timings else 0.0), curve
