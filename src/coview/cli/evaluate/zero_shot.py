"""`coview evaluate zero-shot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Name the class of test recordings by the nearest of the classes' names, as a model that reads words
understands them: one that learnt from captions, or two towers in one space (coview embed --encoder hf:my-clip). No
label is learnt from. Where recordings have several classes at once, the mean average precision is measured.

Each name is put into several sentences, whose vectors are averaged; --prompts gives others, and the result says which
they were. Beside the model stand its labels dealt out anew (permuted). Names that the model does not tell apart are
left out and listed. How far confidences can be believed is the calibration error (ece, 0 is best), under the scale that
the model has learnt, and with --calibrate under the one that fits the training part.

Examples:
  coview evaluate zero-shot --model my-run --collection my-collection --controls
  coview evaluate zero-shot --model features --collection my-collection --prompts "a film of {}" "a picture of {}"
  coview evaluate zero-shot --model features --collection my-collection --labels my-labels.csv --calibrate
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    prompts: tuple[str, ...] = ()
    """Sentences with {} in the place of the name, or a text file with one in each line."""
    calibrate: bool = False
    """Fit the scale of confidences on the training part."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "zero-shot", DESCRIPTION, argv)
    from coview.evaluation.naming import read_prompts

    prompts = read_prompts(arguments.prompts)

    def measure(case: Case) -> Result:
        from coview.evaluation.several_labels import has_several, marks_of
        from coview.evaluation.verdict import is_control
        from coview.evaluation.zero_shot import zero_shot

        with case.bench() as bench:
            place = arguments.test_collection or arguments.collection
            marks = marks_of(place, bench.test) if not arguments.labels and has_several(place) else None
            own = not is_control(case.name)
            zero_shot(bench, prompts, marks, calibrate=arguments.calibrate, permuted=own)
        return bench.result

    return run_models(arguments, ["zero-shot", *argv], measure)
