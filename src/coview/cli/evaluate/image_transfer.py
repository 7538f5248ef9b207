"""`coview evaluate image-transfer --task TASK`: what a model of pictures is worth for other tasks."""

from __future__ import annotations

import difflib
import importlib
import sys

from coview.errors import UsageError

# Task -> module of `tasks` with a function `main(argv)`, and what it does.
TASKS = {
    "probe": ("probe", "a linear classifier on every stage of the frozen encoder, learnt at once"),
    "svm": ("svm", "a linear support vector machine for each class, as on VOC2007; or from few positives"),
    "classify": ("classify", "pictures of several classes, by fine-tuning as on VOC2007; ten random crops"),
    "strategies": ("strategies", "four ways to learn another task from it: init, freeze, augment, joint"),
    "colour": ("colour", "made colours: errors, named failures, and whether a classifier still knows the things"),
    "detection": ("detection", "Fast or Faster R-CNN on its encoder: mean average precision of boxes"),
    "segmentation": ("segmentation", "FCN-32s on its encoder: mean intersection over union of masks"),
}

HELP = """usage: coview evaluate image-transfer --task TASK --model RUN --collection COLLECTION [options]

What a model of pictures is worth for other tasks. Every figure has its 95 % interval, its chance level and the number
of test items; every average precision says by which definition it was taken.

Tasks (coview evaluate image-transfer --task TASK --help tells more):
{tasks}

Examples:
  coview evaluate image-transfer --task probe --model my-run --collection my-pictures --controls
  coview evaluate image-transfer --task strategies --model my-run --collection my-pictures --view image --controls
"""


def main(argv: list[str]) -> int:
    """Run one task and return its exit code."""
    task, rest = split(argv)
    if task is None:
        lines = [f"  {name:<14}{text}" for name, (_, text) in TASKS.items()]
        asked = bool({"-h", "--help"} & set(argv))
        print(HELP.format(tasks="\n".join(lines)), file=sys.stdout if asked else sys.stderr)
        raise SystemExit(0 if asked else 2)
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"there is no task {task!r}{hint} Known: {', '.join(TASKS)}")
    return int(importlib.import_module(f"coview.cli.evaluate.tasks.{TASKS[task][0]}").main(rest))


def split(argv: list[str]) -> tuple[str | None, list[str]]:
    """Return what stands behind --task, None where it is not there, and the other words."""
    for place, word in enumerate(argv):
        if word.startswith("--task="):
            return word.partition("=")[2], argv[:place] + argv[place + 1 :]
        if word == "--task" and place + 1 < len(argv):
            return argv[place + 1], argv[:place] + argv[place + 2 :]
    return None, argv
