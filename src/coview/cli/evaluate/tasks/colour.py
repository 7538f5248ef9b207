"""`coview evaluate image-transfer --task colour`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coview.cli.evaluate.common import Case, Models, read, run_models
from coview.cli.places import check_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Colour held-out pictures from their lightness: how near the true colours, and one number for each known
failure.

Areas under the curve of errors, plain and rebalanced, beside grey and the mean colour of the training part; chroma
against the truth, one tint, hue confusion, colour past edges, uneven regions. --classifier also asks a classifier of
pictures (a run of `coview evaluate fine-tune`) what it sees: real, grey, in mean colour and coloured.

Examples:
  coview evaluate image-transfer --task colour --model my-run --collection my-pictures
  coview evaluate image-transfer --task colour --model my-run --collection C --size 128 --classifier FOLDER/run
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    size: int = 256
    """Side of the square in pixels, cut from the middle, that is coloured."""
    classifier: Path | None = None
    """Run or model of a classifier of pictures on the classes of the collection."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "image-transfer --task colour", DESCRIPTION, argv)
    check_models(arguments.classifier)
    words = ["image-transfer", "--task", "colour", *argv]
    return run_models(arguments, words, _measure, kept="image-transfer-colour")


def _measure(case: Case) -> Result:
    from coview.errors import SettingsError
    from coview.evaluation.colour_test import ColourTest, colour_test
    from coview.evaluation.verdict import is_control
    from coview.model import Model

    asked: Any = case.arguments
    judge = None if asked.classifier is None else Model.from_run(asked.classifier).to(case.model.device)
    try:
        how = ColourTest(size=asked.size, classifier=judge, seed=case.seed)
        views = how.views()
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    result = colour_test(case.model, *case.sources(views), how, name=case.name, progress=case.progress)
    if is_control(case.name):  # what is measured of every model stands beside the first
        result.results = [m for m in result.results if m.name.endswith(f"/{case.name}")]
    return result
