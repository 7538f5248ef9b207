"""`coview evaluate study`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from coview.cli.output import Output
from coview.cli.places import check_files

DESCRIPTION = """Score the answers to a study that `coview paint --study` wrote: how often people took made colours for
real ones, by model. The interval covers other people and other pictures. Participants who break the rules in the
study's key.json are left out; figures with them stand beside.

Examples:
  coview evaluate study --study my-study --answers answers/
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    study: Path
    """Folder that `coview paint --study` wrote, with key.json."""
    answers: Path
    """Folder with the files that participants saved."""
    seed: int = 0
    """Draws the resamples of the intervals."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview evaluate study", description=DESCRIPTION, args=argv)
    check_files(arguments.study, arguments.answers)
    from coview.evaluation.study_score import score

    found, problems = score(arguments.study, arguments.answers, arguments.seed)
    result = {
        "participants": found.recruited,
        "left out": found.left_out if arguments.json else [f"{name}: {why}" for name, why in found.left_out.items()],
        "standard errors": found.errors,
        "results": [each.row() for each in found.results],
    }
    out = Output(json=arguments.json)
    code = out.finish(result, problems)
    # Every answer that was not counted, with its reason, to be kept with the figures.
    out.next("coview", "evaluate", "study", *argv, "--json")
    return code
