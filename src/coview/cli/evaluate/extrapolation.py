"""`coview evaluate extrapolation`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Say how far features go straight on in time. Nothing is fitted.

Of three cuts in equal steps: the share of all other cuts that lie nearer to where the first two point than the true
third. 0 is best, .5 chance.

Examples:
  coview evaluate extrapolation --model my-run --collection my-collection
  coview evaluate extrapolation --model my-run --collection my-collection --windows 30 --controls
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    windows: int = 12
    """Evenly spaced cuts of each recording, three or more; the more, the shorter the step between them."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "extrapolation", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.extrapolation import extrapolation

        with case.bench() as bench:
            extrapolation(bench)
        return bench.result

    return run_models(arguments, ["extrapolation", *argv], measure)
