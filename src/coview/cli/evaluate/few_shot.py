"""`coview evaluate few-shot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Fit the linear probe on a few labels of every class and test it on all test recordings.

Which labels are used is drawn from the seed, is the same on every process, and is written down beside the figures,
under evaluations/few-shot/; larger budgets hold the recordings of smaller ones. A stopped call goes on where it was.

Examples:
  coview evaluate few-shot --model my-run --collection my-collection --ratios 0.01 0.05 0.1 0.25
  coview evaluate few-shot --model my-run --collection my-collection --shots 1 5 10 --draws 5 --controls
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    ratios: tuple[float, ...] = ()
    """Shares of each class's training recordings."""
    shots: tuple[int, ...] = ()
    """Numbers of training recordings of each class."""
    draws: int = 3
    """Independent draws of labels; figures are their mean."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "few-shot", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.errors import UsageError
        from coview.evaluation.bench import describe, weights_of
        from coview.evaluation.few_shot import Budget, few_shot
        from coview.evaluation.resume import folder_of

        try:
            budgets = [Budget(ratio=ratio) for ratio in arguments.ratios]
            budgets += [Budget(shots=shots) for shots in arguments.shots]
        except ValueError as error:
            raise UsageError(str(error)) from error
        if not budgets or arguments.draws < 1:
            raise UsageError("few-shot needs --ratios or --shots, and at least one draw")
        with case.bench() as bench:
            of = {"model": weights_of(case.model)["digest"], "test": describe(bench.test)}
            if bench.train is not None:
                of["train"] = describe(bench.train)
            folder = folder_of(arguments.model[0] / "evaluations" / "few-shot" / case.label, of)
            few_shot(bench, budgets, folder, draws=arguments.draws)
        return bench.result

    return run_models(arguments, ["few-shot", *argv], measure)
