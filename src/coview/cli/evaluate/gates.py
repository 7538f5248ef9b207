"""`coview evaluate gates`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from coview.cli.evaluate.common import Case, Models, load, measure_group, read
from coview.cli.output import Output
from coview.cli.places import check_models
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Measure a procedural world itself: how far plain statistics and random weights get on it, and the runs
given as --shuffled and --supervised; each row that has a limit is judged.

Examples:
  coview evaluate gates --collection digits-av:A
  coview evaluate gates --collection pushes
  coview evaluate gates --collection digits-av:A --supervised ceiling-run --shuffled shuffled-run
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    collection: str
    """The world."""
    shuffled: tuple[Path, ...] = ()
    """Runs on shuffled pairs."""
    supervised: tuple[Path, ...] = ()
    """Runs of supervised-av."""
    batch_size: int = 64
    """Recordings at a time."""
    seed: int = 0
    """Of the world's clips and of everything that is drawn."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "gates", DESCRIPTION, argv)
    check_models(*arguments.shuffled, *arguments.supervised)
    from coview import parallel
    from coview.evaluation.bench import Result
    from coview.evaluation.folds import over_folds
    from coview.evaluation.gates import LIMITS, gate_rows, verdicts
    from coview.training.settings import choose_device

    if arguments.collection.partition(":")[0] not in LIMITS:
        raise UsageError(f"gates are of the worlds {', '.join(LIMITS)}; {arguments.collection} is none of them")
    device = parallel.initialise(choose_device(arguments.device))
    out = Output(json=arguments.json, quiet=not parallel.is_main())
    try:
        whole = Result(["gates"], gate_rows(arguments.collection, seed=arguments.seed), {})
        same = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Arguments)}
        for name, paths in (("shuffled", arguments.shuffled), ("supervised-av", arguments.supervised)):
            if paths:
                measure_group(whole, name, load(paths, device), Models(**same), _measure, out, over_folds)
    finally:
        parallel.shutdown()
    judged = verdicts(arguments.collection, whole.results)
    for verdict in judged:
        word = "passes" if verdict.passed else "FAILS"
        out.say(f"{word}: {verdict.row} {verdict.value:.3f}, {verdict.side} {verdict.limit:.3f}")
    rows = [measurement.row() for measurement in whole.results]
    kept = {"gates": [dataclasses.asdict(verdict) for verdict in judged]} if arguments.json else {}
    return out.finish({**kept, "results": rows}, whole.problems)


def _measure(case: Case) -> Result:
    from coview.evaluation.protocols import evaluate

    train, test = case.sources()
    return evaluate(
        ["linear-probe", "retrieval"], case.model, train, test, name=case.name, seed=case.seed,
        batch_size=case.arguments.batch_size, progress=case.progress,
    )  # fmt: skip
