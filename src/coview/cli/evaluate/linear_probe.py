"""`coview evaluate linear-probe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Fit a linear classifier on frozen features and test it: top 1, top 5, and single clips.

The encoder stays in evaluation mode, which a hash of all its tensors proves. The strength of the penalty is chosen on a
held-out fifth of the training part.

Examples:
  coview evaluate linear-probe --model my-run --collection my-collection --controls
  coview evaluate linear-probe --model my-run --collection ucf101 --folds 1 2 3 --windows 10
  coview evaluate linear-probe --model my-run --collection my-collection --stages conv3x:max:1x8x8 conv5x:mean
  coview evaluate linear-probe --model my-run --collection my-collection --stages avid --as-released
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    stages: tuple[str, ...] = ()
    """Stages of the encoders to measure as well, each with a classifier, pooling and normalisation of its own:
    NAME[:max|mean[:CELLS[:standardise|unit|none]]], "all", or "avid" for the four of AVID's probe."""
    as_released: bool = False
    """Also measure "bn-adapt": a copy whose normalisation statistics drift over the training part, as in the released
    codes of AVID and AV-SSRL."""
    ten_crop: bool = False
    """Also test on ten crops of every clip: corners and middle, plain and mirrored; probabilities are averaged."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "linear-probe", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from coview.evaluation.linear_probe import linear_probe

        with case.bench() as bench:
            linear_probe(bench, stages=arguments.stages, as_released=arguments.as_released, ten_crop=arguments.ten_crop)
        return bench.result

    return run_models(arguments, ["linear-probe", *argv], measure)
