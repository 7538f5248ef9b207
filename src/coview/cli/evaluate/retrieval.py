"""`coview evaluate retrieval`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Search with one view of a test recording for another view, in all directions (v2v, a2a, v2a, a2v).

Figures: retrieval_* by pair (recall at 1, 5, 10 and the median rank), class_* by class. The projected space, where a
method aligns its views, has plain names; the backbone's, where nothing aligns them, ends in "@backbone". With --grid
the model's folder gets pictures of queries and what they found, and the run's report clips to play.

Examples:
  coview evaluate retrieval --model my-run --collection my-collection --controls
  coview evaluate retrieval --model my-run --collection my-collection --spaces projected backbone --grid
  coview evaluate retrieval --model my-run --collection ucf101 --folds 1 --galleries train --windows 10
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    spaces: tuple[Literal["projected", "backbone"], ...] = ("projected",)
    """Spaces that are searched."""
    galleries: tuple[Literal["test", "train"], ...] = ("test",)
    """What is searched: the test part, or by class the training part (AV-SSRL's convention)."""
    grid: bool = False
    """Write pictures of queries and what they found, and a report with clips to play."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "retrieval", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.retrieval import retrieve

        with case.bench() as bench:
            retrieve(bench, spaces=arguments.spaces, galleries=arguments.galleries)
        return bench.result

    code = run_models(arguments, ["retrieval", *argv], measure)
    if arguments.grid:
        _write_pictures(arguments)
    return code


def _write_pictures(arguments: Arguments) -> None:
    """Write the grids and the report of the first model, on the first process."""
    from coview import parallel
    from coview.cli.evaluate.common import parts
    from coview.evaluation.grid import write_grids
    from coview.evaluation.report import write_report
    from coview.model import Model

    if not parallel.is_main():
        return
    run = arguments.model[0]
    model = Model.from_run(run)
    views = model.needed
    _, test = parts(arguments, views, arguments.folds[0] if arguments.folds else None)
    write_grids(model, test, run / "evaluations", spaces=arguments.spaces, seed=arguments.seed)
    if (run / "settings.yaml").is_file():
        note = f"The map, the grids and the examples show recordings of {test.name}."
        write_report(run, model=model, source=test, notes=[note], seed=arguments.seed)
