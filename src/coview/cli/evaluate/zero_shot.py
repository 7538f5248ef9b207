"""`coview evaluate zero-shot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Name the class of test recordings by the nearest of the classes' names, as a model of captions reads
them. No label is learnt from. Names in which it knows no word are left out and listed.

Examples:
  coview evaluate zero-shot --model my-run --collection my-collection --controls
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "zero-shot", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.zero_shot import zero_shot

        with case.bench() as bench:
            zero_shot(bench)
        return bench.result

    return run_models(arguments, ["zero-shot", *argv], measure)
