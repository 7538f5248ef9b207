"""`coview evaluate`: measure a model by a protocol, beside its controls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from coview.cli.bars import bars
from coview.cli.output import Output

if TYPE_CHECKING:
    import torch

    from coview.evaluation.protocols import Result

DESCRIPTION = """Measure a model by a protocol: linear-probe, knn or retrieval.

Every figure has its 95 % interval, its chance level and the number of test items. With several models, which should be
runs of one setting with other seeds, figures are means over them. The result is kept in the run, under evaluations/.
"gates" measures a procedural world itself: how far plain statistics, random weights and supervision get on it.

Examples:
  coview evaluate linear-probe --model my-run --collection my-collection
  coview evaluate retrieval --model my-run --collection my-collection --controls --json
  coview evaluate knn --model run-0 run-1 run-2 --shuffled shuffled-run --collection my-collection
  coview evaluate gates --collection digits-av:A
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
    if arguments.protocol == "gates":
        return gates(arguments)
    from coview import parallel
    from coview.errors import UsageError
    from coview.training.settings import choose_device

    if not arguments.model:
        raise UsageError(f"{arguments.protocol} measures a model: pass --model")
    device = parallel.initialise(choose_device(arguments.device))
    out = Output(json=arguments.json, quiet=not parallel.is_main())
    try:
        result = measure(arguments, device, out)
        if parallel.is_main():
            result.save(arguments.model[0] / "evaluations" / f"{arguments.protocol}.json")
    finally:
        parallel.shutdown()
    for note in result.notes:
        out.say(note)
    out.result({"notes": result.notes, "results": [measurement.row() for measurement in result.results]})
    return 0


def measure(arguments: Arguments, device: torch.device, out: Output) -> Result:
    """Measure the models and each control; figures are means over the models of a group."""
    from coview.data.open import open_source
    from coview.evaluation.controls import NOTE, random_weights
    from coview.evaluation.protocols import Result, evaluate
    from coview.evaluation.statistics import over_seeds
    from coview.model import Model

    def load(paths: tuple[Path, ...]) -> list[Model]:
        return [Model.from_run(path).to(device) for path in paths]

    models = load(arguments.model)
    name = models[0].method.about.slug
    views = {view: models[0].views[view] for view in models[0].distinct_views()}
    train, test = (
        open_source(arguments.collection, views, split=split) for split in (arguments.train_split, arguments.test_split)
    )
    groups = {name: models, "shuffled": load(arguments.shuffled), "supervised-av": load(arguments.supervised)}
    if arguments.controls:
        groups["random"] = [
            random_weights(model, train, seed=arguments.seed + number, batch_size=arguments.batch_size)
            for number, model in enumerate(models)
        ]
    whole = Result([arguments.protocol], [], {}, [NOTE] if arguments.controls else [])
    for group, members in groups.items():
        results = []
        for number, model in enumerate(members):
            with bars(out) as show:
                result = evaluate(
                    arguments.protocol, model, train, test, name=group, seed=arguments.seed + number,
                    windows=arguments.windows, batch_size=arguments.batch_size, progress=show,
                )  # fmt: skip
            results.append(result)
        whole.results += [over_seeds(same) for same in zip(*(result.results for result in results), strict=True)]
        whole.choices[group] = [result.choices for result in results]
        whole.notes += [note for result in results for note in result.notes if note not in whole.notes]
    return whole


def gates(arguments: Arguments) -> int:
    """Measure a world by its gates."""
    raise NotImplementedError
