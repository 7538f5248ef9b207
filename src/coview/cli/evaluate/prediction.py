"""`coview evaluate prediction`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models
from coview.cli.places import check_models
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """How like the true pictures are the predicted ones: PSNR and SSIM at every horizon, beside the last
picture that was shown, the same model told of another recording's actions, and a model trained without actions.
Differences are paired, recording by recording. A page of films is written beside the figures: what came, what was
predicted, its masks and its flow.

Examples:
  coview evaluate prediction --model my-run --collection pushes
  coview evaluate prediction --model my-run --no-actions other-run --collection my-collection --films 12
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    no_actions: Path | None = None
    """A run of the same setting that was trained without actions."""
    films: int = 6
    """Recordings on the page of films; 0 for no page."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "prediction", DESCRIPTION, argv)
    if arguments.films < 0:
        raise UsageError("--films is a number of recordings, 0 for no page")
    if arguments.no_actions:
        check_models(arguments.no_actions)

    def measure(case: Case) -> Result:
        from coview.data.open import open_source
        from coview.evaluation.predicted_films import write_films
        from coview.evaluation.prediction import prediction, predictor_of
        from coview.evaluation.verdict import is_control
        from coview.model import Model
        from coview.parallel import is_main

        own = not is_control(case.name)
        predictor_of(case.model)
        untold = Model.from_run(arguments.no_actions).to(case.model.device) if arguments.no_actions and own else None
        place = arguments.test_collection or arguments.collection
        test = open_source(place, case.model.views, split=arguments.test_split, fold=case.fold)
        result = prediction(
            case.model, test, name=case.name, untold=untold, baselines=own, seed=case.seed, windows=arguments.windows,
            batch_size=arguments.batch_size, progress=case.progress,
        )  # fmt: skip
        if own and arguments.films and is_main():
            page = arguments.model[0] / "evaluations" / f"prediction-{case.label}.html"
            count = write_films(case.model, test, page, arguments.films)
            result.notes.append(f"{count} films: {page}")
        return result

    return run_models(arguments, ["prediction", *argv], measure)
