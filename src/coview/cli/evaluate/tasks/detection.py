"""`coview evaluate image-transfer --task detection`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coview.cli.evaluate.common import Case, read, run_models
from coview.cli.evaluate.tasks.dense import WholePictures, beside_permuted, scenes, training

if TYPE_CHECKING:
    from coview.data.scenes import Scenes
    from coview.evaluation.bench import Result
    from coview.evaluation.detection import Detection

DESCRIPTION = """Train Fast or Faster R-CNN on a model's encoder and measure mean average precision, by VOC's matching.

Pictures need the track "objects", an annotation in VOC's form (coview index voc2007:trainval). Fast R-CNN is given
regions: of a file (.npz with an array (n, 4) for every picture's id, or the .mat released with Fast R-CNN), of
selective search (OpenCV's contributed modules), or made from the truth, which measures how regions are told apart and
not how they are found. --controls does the same from random weights, and with the truth of other pictures (permuted). A
stopped call goes on. Figures: detection_map-11-point (VOC 2007's) and detection_map-area.

Examples:
  coview evaluate image-transfer --task detection --model my-run --collection voc --proposals selective-search
  coview evaluate image-transfer --task detection --model my-run --collection voc --detector faster-rcnn --frozen
  coview evaluate image-transfer --task detection --model my-run --collection voc --proposals trainval.mat
    --test-proposals test.mat
  coview evaluate image-transfer --task detection --model my-run --collection shapes --short 64 --steps 300
    --optimiser adam --lr 2e-3 --train-batch 8 --width 128 --frozen --controls
"""


@dataclass(kw_only=True)
class Arguments(WholePictures):
    """What the command takes."""

    detector: Literal["fast-rcnn", "faster-rcnn"] = "fast-rcnn"
    """Which detector; faster-rcnn proposes its own regions."""
    proposals: str = "jittered-truth"
    """Regions for fast-rcnn: jittered-truth, selective-search, or a file."""
    test_proposals: str | None = None
    """Regions of the test part, where they lie in another file."""
    steps: int = 150_000
    """Steps of training."""
    lr: float = 1e-3
    """First rate; a tenth of it after each third."""
    train_batch: int = 2
    """Pictures in a step."""
    short: tuple[int, ...] = (480, 576, 688, 864, 1000)
    """Shorter side of pictures in training, one of these; in the test 600, or the only one given."""
    long: int = 1200
    """Longer side at most."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "image-transfer --task detection", DESCRIPTION, argv)
    words = ["image-transfer", "--task", "detection", *argv]
    return run_models(arguments, words, _measure, kept="image-transfer-detection", trains=True)


def _measure(case: Case) -> Result:
    from coview.data.scenes import Permuted
    from coview.evaluation.detection import detect

    how = _how(case.arguments, case.seed)
    train, test = scenes(case, "objects")

    def measure(part: Scenes, folder: Path, name: str) -> Result:
        return detect(case.model, part, test, folder, how, name=name, progress=case.progress)

    return beside_permuted(case, train, Permuted, measure)


def _how(asked: Any, seed: int) -> Detection:
    from coview.errors import SettingsError
    from coview.evaluation.detection import Detection

    one = asked.short[0] if len(asked.short) == 1 else 600
    try:
        same = training(asked)
        return Detection(
            **same, detector=asked.detector, proposals=asked.proposals, test_proposals=asked.test_proposals,
            short=asked.short, test_short=one, long=asked.long, seed=seed,
        )  # fmt: skip
    except ValueError as error:
        raise SettingsError([str(error)]) from error
