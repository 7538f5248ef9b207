"""`coview evaluate regression`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from coview.cli.evaluate.common import Case, Models, read, run_models
from coview.cli.places import check_files
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """How well numbers over time, such as valence, follow from frozen features: ridge regression from each
view and from all of them joined, with Pearson's correlation, Lin's concordance (CCC) and the root mean squared error
over all moments of the test part. Penalties are chosen by folds of recordings; intervals are over recordings. Where
training and test part are the same recordings, each is predicted from the others, in five folds.

--labels is a table (.csv, .parquet): id, a column for every target, time in seconds where recordings have several
moments, and recording where a row is a moment of something longer, as in features of single moments. The model may be
one of `coview fuse`.

Examples:
  coview evaluate regression --model my-run --collection my-collection --labels valence.csv --windows 30
  coview fuse robust-cca picture=a.parquet sound=b.parquet -o fused --method.components 8
  coview evaluate regression --model fused --collection picture=a.parquet,sound=b.parquet --labels valence.csv \\
    --spaces backbone projected
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    labels: Path | None = None
    """Table of labels over time."""
    windows: int = 12
    """Evenly spaced cuts of each recording; each is a moment, with the labels of its middle."""
    spaces: tuple[Literal["backbone", "projected"], ...] = ("backbone",)
    """Features before the heads, or behind them, where fused views lie in one space."""

    @property
    def names_classes(self) -> bool:
        """False: the labels are numbers over time."""
        return False


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "regression", DESCRIPTION, argv)
    if arguments.labels is None:
        raise UsageError("regression needs labels over time: pass --labels TABLE with columns id, time and the targets")
    check_files(arguments.labels)
    place = arguments.labels

    def measure(case: Case) -> Result:
        from coview.evaluation.regression import regression
        from coview.evaluation.time_labels import read_time_labels
        from coview.evaluation.verdict import is_control

        with case.bench() as bench:
            labels, own = read_time_labels(place), not is_control(case.name)
            regression(bench, labels, spaces=arguments.spaces, permuted=own)
        return bench.result

    return run_models(arguments, ["regression", *argv], measure)
