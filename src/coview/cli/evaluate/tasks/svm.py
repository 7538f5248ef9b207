"""`coview evaluate image-transfer --task svm`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Fit a linear support vector machine for each class on frozen features: mean average precision.

As on VOC2007 (Goyal et al. 2019): features of length 1, squared hinge, 26 costs of which each class takes the one with
the best three-fold average precision. A picture may be of several classes (a collection of VOC), or of one. --shots
learns from so many positives of each class, the mean over five draws.

Examples:
  coview evaluate image-transfer --task svm --model my-run --collection voc2007 --controls
  coview evaluate image-transfer --task svm --model my-run --collection voc2007 --stages conv4:mean:5x5 conv5:mean:6x6
  coview evaluate image-transfer --task svm --model my-run --collection voc2007 --shots 1 2 4 8 16 32 64 96
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    view: str = "image"
    """View whose encoder is measured."""
    stages: tuple[str, ...] = ()
    """Stages instead of the features: NAME[:max|mean[:CELLS]], or "all"."""
    shots: tuple[int, ...] = ()
    """Positives of each class that are learnt from, instead of all of them."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "image-transfer --task svm", DESCRIPTION, argv)
    words = ["image-transfer", "--task", "svm", *argv]
    return run_models(arguments, words, _measure, kept="image-transfer-svm")


def _measure(case: Case) -> Result:
    from coview.errors import SettingsError, UsageError
    from coview.evaluation.linear_svm import LinearSVM, linear_svm
    from coview.evaluation.several_labels import marks_of

    asked: Any = case.arguments
    if any(shots < 1 for shots in asked.shots):
        raise SettingsError([f"--shots: at least 1, found {min(asked.shots)}"])
    if asked.view not in case.model.reads:
        raise UsageError(f"the model has no view {asked.view!r}; it has {', '.join(case.model.reads)}")
    with case.bench() as bench:
        assert bench.train is not None
        fit = marks_of(asked.collection, bench.train)
        held = marks_of(asked.test_collection or asked.collection, bench.test, fit.classes)
        linear_svm(bench, asked.view, fit, held, LinearSVM(stages=asked.stages, shots=asked.shots))
    return bench.result
