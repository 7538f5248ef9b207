"""`coview evaluate analysis --task normals`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coview.cli.evaluate.common import Case, read, run_models
from coview.cli.evaluate.tasks.dense import WholePictures, beside_permuted, training

if TYPE_CHECKING:
    from coview.data.surfaces import Surfaces
    from coview.evaluation.bench import Result
    from coview.evaluation.normals import Normals

DESCRIPTION = """Train a head on a model's encoder that says for every pixel where its surface faces.

Pictures need the track "depth" (as of coview index surfaces), from which the true normals come: a plane through the
points around every pixel. Figures, over all known pixels of the test part: normals_mean and normals_median in degrees,
and the shares below 11.25, 22.5 and 30 degrees. Chance is the mean normal of the training part, said everywhere.
--controls does the same from random weights, and with the normals of other pictures (permuted). A stopped call goes on.

Examples:
  coview evaluate analysis --task normals --model my-run --collection my-pictures --focal 0.8 --controls
  coview evaluate analysis --task normals --model my-run --collection surfaces --frozen --steps 300 --width 64
    --controls
"""


@dataclass(kw_only=True)
class Arguments(WholePictures):
    """What the command takes."""

    optimiser: Literal["sgd", "adam"] = "adam"
    """Which optimiser."""
    steps: int = 10_000
    """Steps of training."""
    lr: float = 1e-3
    """First rate; a tenth of it after each third."""
    train_batch: int = 16
    """Pictures in a step."""
    width: int = 512
    """Of the head's layer."""
    focal: float = 0.9265
    """Focal length of the camera, as a share of a picture's width; NYUv2's, and that of made surfaces."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "analysis --task normals", DESCRIPTION, argv)
    words = ["analysis", "--task", "normals", *argv]
    return run_models(arguments, words, _measure, kept="analysis-normals", trains=True)


def _measure(case: Case) -> Result:
    from coview.data.collection import Collection
    from coview.data.surfaces import CollectedSurfaces, PermutedSurfaces
    from coview.evaluation.normals import normals

    asked: Any = case.arguments
    how = _how(asked, case.seed)
    whole = Collection.open(asked.collection)
    other = Collection.open(asked.test_collection) if asked.test_collection else whole
    train: Surfaces = CollectedSurfaces(whole.select(split=asked.train_split, fold=case.fold), asked.focal)
    test = CollectedSurfaces(other.select(split=asked.test_split, fold=case.fold), asked.focal)

    def measure(part: Surfaces, folder: Path, name: str) -> Result:
        return normals(case.model, part, test, folder, how, name=name, progress=case.progress)

    return beside_permuted(case, train, PermutedSurfaces, measure)


def _how(asked: Any, seed: int) -> Normals:
    from coview.errors import SettingsError
    from coview.evaluation.normals import Normals

    if not 0 < asked.focal < float("inf"):
        raise SettingsError([f"--focal is a length above 0, as a share of the picture's width, found {asked.focal}"])
    try:
        return Normals(**training(asked), seed=seed)
    except ValueError as error:
        raise SettingsError([str(error)]) from error
