"""`coview evaluate`: measure a model by a protocol, beside its controls."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from coview.cli.output import Output

if TYPE_CHECKING:
    import torch

    from coview.evaluation.protocols import Result
    from coview.model import Model

DESCRIPTION = """Measure a model by a protocol: linear-probe, knn or retrieval.

Every figure has its 95 % interval, its chance level and the number of test items. With several models, which should be
runs of one setting with other seeds, figures are means over them. The result is kept in the run, under evaluations/.
"gates" measures a procedural world itself: how far plain statistics and random weights get on it, and the runs given
as --shuffled and --supervised; each row that has a limit is judged.

Examples:
  coview evaluate linear-probe --model my-run --collection my-collection
  coview evaluate retrieval --model my-run --collection my-collection --controls --json
  coview evaluate knn --model run-0 run-1 run-2 --shuffled shuffled-run --collection my-collection
  coview evaluate gates --collection digits-av:A --supervised ceiling-run
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    protocol: tyro.conf.Positional[Literal["linear-probe", "knn", "retrieval", "gates"]]
    """What is measured."""
    collection: str
    """Collection folder, memory-mapped set or world whose recordings are used."""
    model: tuple[Path, ...] = ()
    """Run or model folders: one, or several of one setting with other seeds."""
    controls: bool = False
    """Also measure random weights of the same architecture, as many draws as models."""
    shuffled: tuple[Path, ...] = ()
    """Runs of the same setting on shuffled pairs, measured beside the model."""
    supervised: tuple[Path, ...] = ()
    """Runs of supervised-av, the ceiling, measured beside the model."""
    train_split: Literal["train", "validation", "test"] = "train"
    """Where classifiers are fitted."""
    test_split: Literal["train", "validation", "test"] = "test"
    """Where everything is measured."""
    windows: int = 1
    """Evenly spaced cuts of each recording."""
    batch_size: int = 64
    """Recordings embedded at a time."""
    seed: int = 0
    """Of the held-out fifth, of the bootstrap and of random weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview evaluate", description=DESCRIPTION, args=argv)
    from coview import parallel
    from coview.errors import UsageError
    from coview.training.settings import choose_device

    if arguments.protocol != "gates" and not arguments.model:
        raise UsageError(f"{arguments.protocol} measures a model: pass --model")
    device = parallel.initialise(choose_device(arguments.device))
    out = Output(json=arguments.json, quiet=not parallel.is_main())
    try:
        if arguments.protocol == "gates":
            out.result(gates(arguments, device, out))
            return 0
        result = measure(arguments, device, out)
        if parallel.is_main():
            result.save(arguments.model[0] / "evaluations" / f"{arguments.protocol}.json")
    finally:
        parallel.shutdown()
    for note in result.notes:
        out.say(note)
    rows = [measurement.row() for measurement in result.results]
    out.result({"notes": result.notes, "results": rows} if arguments.json else {"results": rows})
    return 0


def measure(arguments: Arguments, device: torch.device, out: Output) -> Result:
    """Measure the models, then each control."""
    from coview.data.open import open_source
    from coview.evaluation.controls import NOTE, random_weights
    from coview.evaluation.protocols import Result

    models = load(arguments.model, device)
    groups = {models[0].method.about.slug: models}
    for name, paths in (("shuffled", arguments.shuffled), ("supervised-av", arguments.supervised)):
        if paths:
            groups[name] = load(paths, device)
    whole = Result([arguments.protocol], [], {})
    if arguments.controls:
        views = {view: models[0].views[view] for view in models[0].distinct_views()}
        train = open_source(arguments.collection, views, split=arguments.train_split)
        groups["random"] = [
            random_weights(model, train, seed=arguments.seed + number, batch_size=arguments.batch_size)
            for number, model in enumerate(models)
        ]
        whole.notes.append(NOTE)
    for name, members in groups.items():
        measure_group(whole, name, members, arguments, out)
    return whole


def measure_group(whole: Result, name: str, models: list[Model], arguments: Arguments, out: Output) -> None:
    """Add to `whole` the figures of models that differ in their seed alone: means over them."""
    from coview.data.open import open_source
    from coview.evaluation.protocols import evaluate
    from coview.evaluation.statistics import over_seeds

    results = []
    for number, model in enumerate(models):
        views = {view: model.views[view] for view in model.distinct_views()}
        train, test = (
            open_source(arguments.collection, views, split=split)
            for split in (arguments.train_split, arguments.test_split)
        )
        with out.steps() as show:
            result = evaluate(
                whole.protocols, model, train, test, name=name, seed=arguments.seed + number,
                windows=arguments.windows, batch_size=arguments.batch_size, progress=show,
            )  # fmt: skip
        results.append(result)
    whole.results += [over_seeds(same) for same in zip(*(result.results for result in results), strict=True)]
    whole.choices[name] = [result.choices for result in results]
    whole.notes += [note for result in results for note in result.notes if note not in whole.notes]


def gates(arguments: Arguments, device: torch.device, out: Output) -> dict[str, Any]:
    """Measure a world without learning, and the shuffled and supervised runs that are given; judge all of them."""
    from coview.errors import UsageError
    from coview.evaluation.gates import LIMITS, gate_rows, verdicts
    from coview.evaluation.protocols import Result

    if arguments.collection.partition(":")[0] not in LIMITS:
        raise UsageError(f"gates are of the worlds {' and '.join(LIMITS)}; {arguments.collection} is none of them")
    whole = Result(["linear-probe", "retrieval"], gate_rows(arguments.collection, seed=arguments.seed), {})
    for name, paths in (("shuffled", arguments.shuffled), ("supervised-av", arguments.supervised)):
        if paths:
            measure_group(whole, name, load(paths, device), arguments, out)
    judged = verdicts(arguments.collection, whole.results)
    for verdict in judged:
        word = "passes" if verdict.passed else "FAILS"
        out.say(f"{word}: {verdict.row} {verdict.value:.3f}, {verdict.side} {verdict.limit:.3f}")
    rows = [measurement.row() for measurement in whole.results]
    kept = {"gates": [dataclasses.asdict(verdict) for verdict in judged]} if arguments.json else {}
    return {**kept, "results": rows}


def load(paths: tuple[Path, ...], device: torch.device) -> list[Model]:
    """Read models onto a device."""
    from coview.model import Model

    return [Model.from_run(path).to(device) for path in paths]
