"""One run of a comparison, from training to figures.

Every run is a folder with `compare.json`, written last; what is there is not done again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

from coview.comparison.plan import Task
from coview.comparison.table import Outcome
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.errors import UsageError
from coview.evaluation.controls import random_weights
from coview.evaluation.protocols import evaluate
from coview.files import write_aside
from coview.model import Model
from coview.training.loop import train
from coview.training.run import changes, read_lines
from coview.training.settings import run_from_dict
from coview.training.setup import build_method

OUTCOME = "compare.json"  # of a finished run, in its folder


def stored(task: Task) -> Outcome | None:
    """Return a finished run's outcome; None where there is none yet.

    Raises:
        UsageError: it is of other settings.
    """
    folder = Path(task.folder)
    if not (folder / OUTCOME).is_file():
        return None
    found = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))["settings"]
    if changed := changes(found, task.settings):
        listed = "\n".join(f"  - {line}" for line in changed)
        raise UsageError(
            f"{folder}: finished with other settings (stored -> asked):\n{listed}\nChoose another folder with -o"
        )
    return stored_at(folder)


def stored_at(folder: Path) -> Outcome:
    """Return the outcome of a finished run's folder."""
    fields = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
    return Outcome(**{name: value for name, value in fields.items() if name != "settings"})


def perform(task: Task) -> str:
    """Train and measure one run, write its outcome, and return a sentence; a run that cannot be made says why."""
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    while task.start and not (Path(task.start).parent / OUTCOME).is_file():
        time.sleep(5)  # another process of torchrun still makes it
    try:
        outcome = measure(task, folder)
        text = ", ".join(
            f"{row['name'].partition('/')[0]} {row['value']:.3f}" for row in outcome.results if "probe" in row["name"]
        )
    except UsageError as error:  # method and data do not fit together; anything else stops the comparison
        outcome, text = Outcome(row=task.row, seed=task.seed, note=str(error)), f"not run: {error}"
    fields = {**dataclasses.asdict(outcome), "settings": task.settings}
    write_aside(folder / OUTCOME, json.dumps(fields, indent=1) + "\n")
    return f"{task.row}, seed {task.seed}: {text}"


def measure(task: Task, folder: Path) -> Outcome:
    """Train, unless the run is of random weights, and measure."""
    settings = run_from_dict(task.settings)
    samples, seconds, curve = 0, 0.0, list[dict[str, float]]()
    if task.kind == "random":
        method, source = build_method(settings)
        model = Model.of(method, Preprocess(method.views, settings.augment), source)
        model = random_weights(model, source, seed=task.seed)
    else:
        train(settings, folder / "run", resume=True, init_from=Path(task.start) if task.start else None, quiet=True)
        model = Model.from_run(folder / "run")
        begun = stored_at(Path(task.start).parent).samples if task.start else 0
        samples = begun + int(settings.train.steps or 0) * settings.train.batch_size
        seconds, curve = history(folder / "run", settings.train.batch_size, begun)
    views = {view: model.views[view] for view in model.distinct_views()}
    fit = open_source(settings.collection, views, split="train")
    held = open_source(task.test, views, split=task.part)
    protocols = ["linear-probe"] + (["retrieval"] if task.method != "supervised-av" else [])
    results = evaluate(protocols, model, fit, held, name=task.row, seed=task.seed).results
    rows = [measurement.row() for measurement in results]
    return Outcome(row=task.row, seed=task.seed, results=rows, samples=samples, seconds=seconds, curve=curve)


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
