"""`coview evaluate units`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """What single units of a stage look for: of each unit the pictures that excite it most, with what it sees
of them, on a page, beside a map of the recordings and what is found for some of them. The figure is the share of units
that are detectors: three quarters of their ten top pictures are of one class. Untrained networks have such units too,
so that --controls belongs to it.

Examples:
  coview evaluate units --model my-run --collection my-pictures --controls
  coview evaluate units --model my-run --collection my-pictures --stage conv5
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    view: str | None = None
    """View of pictures; by default the first."""
    stage: str | None = None
    """Stage of its encoder; by default the last."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "units", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.units import units
        from coview.evaluation.units_page import write_units
        from coview.evaluation.verdict import is_control
        from coview.parallel import is_main

        with case.bench() as bench:
            seen = units(bench, arguments.view, arguments.stage)
            if is_main() and (case.name == "random" or not is_control(case.name)):
                page = arguments.model[0] / "evaluations" / f"units-{case.label}.html"
                count = write_units(bench.model, bench.test, seen, page, bench.result.results, seed=case.seed)
                bench.result.notes.append(f"{count} units to look at: {page}")
        return bench.result

    return run_models(arguments, ["units", *argv], measure, figures=False)
