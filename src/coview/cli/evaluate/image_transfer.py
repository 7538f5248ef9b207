"""`coview evaluate image-transfer --task TASK`: what a model of pictures is worth for other tasks."""

from __future__ import annotations

from coview.cli.evaluate.tasks import run_task

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
    return run_task(TASKS, HELP, argv)
