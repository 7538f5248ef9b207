"""`coview evaluate image-transfer --task segmentation`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coview.cli.evaluate.common import Case, read, run_models
from coview.cli.evaluate.tasks.dense import WholePictures, beside_permuted, scenes, training

if TYPE_CHECKING:
    from coview.data.scenes import Scenes
    from coview.evaluation.bench import Result
    from coview.evaluation.segmentation import Segmentation

DESCRIPTION = """Train a fully convolutional head (FCN-32s) on a model's encoder; measure mean intersection over union.

Pictures need the track "mask", a PNG with the number of every pixel's class, 0 background and 255 not to be counted
(coview index voc2012:segmentation has no test masks: --test-split validation). --controls does the same from random
weights, and with the truth of other pictures (permuted). A stopped call goes on. Figure: segmentation_miu, over the
classes and background.

Examples:
  coview evaluate image-transfer --task segmentation --model my-run --collection voc-masks --test-split validation
  coview evaluate image-transfer --task segmentation --model my-run --collection shapes --steps 300 --optimiser adam
    --lr 2e-3 --train-batch 8 --width 64 --kernel 3 --frozen --controls
"""


@dataclass(kw_only=True)
class Arguments(WholePictures):
    """What the command takes."""

    steps: int = 150_000
    """Steps of training."""
    lr: float = 1e-4
    """First rate; a tenth of it after each third."""
    train_batch: int = 20
    """Pictures in a step."""
    width: int = 4096
    """Of the head's two layers."""
    kernel: int = 7
    """Side of the first layer's convolution; odd."""
    dropout: float = 0.5
    """Behind each of the two layers."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "image-transfer --task segmentation", DESCRIPTION, argv)
    words = ["image-transfer", "--task", "segmentation", *argv]
    return run_models(arguments, words, _measure, kept="image-transfer-segmentation", trains=True)


def _measure(case: Case) -> Result:
    from coview.data.scenes import Permuted
    from coview.evaluation.segmentation import segment

    how = _how(case.arguments, case.seed)
    train, test = scenes(case, "mask")

    def measure(part: Scenes, folder: Path, name: str) -> Result:
        return segment(case.model, part, test, folder, how, name=name, progress=case.progress)

    return beside_permuted(case, train, Permuted, measure)


def _how(asked: Any, seed: int) -> Segmentation:
    from coview.errors import SettingsError
    from coview.evaluation.segmentation import Segmentation

    try:
        same = training(asked)
        return Segmentation(**same, kernel=asked.kernel, dropout=asked.dropout, seed=seed)
    except ValueError as error:
        raise SettingsError([str(error)]) from error
