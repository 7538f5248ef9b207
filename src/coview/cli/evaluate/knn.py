"""`coview evaluate knn`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Classify test recordings by the vote of the 20 nearest training recordings. Nothing is fitted.

Examples:
  coview evaluate knn --model my-run --collection my-collection
  coview evaluate knn --model run-0 run-1 run-2 --shuffled shuffled-run --collection my-collection
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "knn", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.knn import knn

        with case.bench() as bench:
            knn(bench)
        return bench.result

    return run_models(arguments, ["knn", *argv], measure)
