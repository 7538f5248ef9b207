"""`coview evaluate analysis --task TASK`: further questions to a model."""

from __future__ import annotations

from coview.cli.evaluate.tasks import run_task

# Task -> module of `tasks` with a function `main(argv)`, and what it does.
TASKS = {
    "ensemble": ("ensemble", "what a second model adds: mean of probabilities, and joined features fitted anew"),
    "normals": ("normals", "where surfaces face, by a head on the encoder: angles beside the constant normal"),
}

HELP = """usage: coview evaluate analysis --task TASK --model RUN --collection COLLECTION [options]

Further questions to a model. Every figure has its 95 % interval, its chance level and the number of test items. Support
vector machines, detectors and ways to transfer: coview evaluate image-transfer.

Tasks (coview evaluate analysis --task TASK --help tells more):
{tasks}

Examples:
  coview evaluate analysis --task ensemble --model my-run --with another-run --collection my-pictures --controls
  coview evaluate analysis --task normals --model my-run --collection surfaces --frozen --controls
"""


def main(argv: list[str]) -> int:
    """Run one task and return its exit code."""
    return run_task(TASKS, HELP, argv)
