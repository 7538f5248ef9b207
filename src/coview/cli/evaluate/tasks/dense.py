"""What the tasks of whole pictures share: how networks are trained, the scenes of a collection, permuted truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from coview.cli.evaluate.common import Case, Models

if TYPE_CHECKING:
    from coview.data.collected_scenes import Truth
    from coview.data.scenes import Scenes
    from coview.data.whole_pictures import Pictures
    from coview.evaluation.bench import Result

P = TypeVar("P", bound="Pictures")


@dataclass(kw_only=True)
class WholePictures(Models):
    """How a network of whole pictures is trained."""

    view: str = "image"
    """View of single pictures whose encoder is used."""
    stage: str | None = None
    """Stage of the encoder whose maps are read; the last by default."""
    frozen: bool = False
    """The encoder stays as it is; only what is built on it learns."""
    optimiser: Literal["sgd", "adam"] = "sgd"
    """Which optimiser."""
    width: int = 1024
    """Of the two layers of what is built on the encoder."""
    out: Path | None = None
    """Folder of the runs, instead of evaluations/image-transfer/ in the model's."""


def training(asked: Any) -> dict[str, Any]:
    """Return the settings that all these networks have, from what a command is told."""
    from coview.methods.recipe import OptimiserSettings, ScheduleSettings

    optimiser = OptimiserSettings(kind=asked.optimiser, lr=asked.lr, weight_decay=5e-4, clip_gradient=10.0)
    same = ("view", "stage", "frozen", "steps", "width")
    return {
        **{name: getattr(asked, name) for name in same},
        "batch_size": asked.train_batch,
        "optimiser": optimiser,
        "schedule": ScheduleSettings(kind="multistep", milestones=(1 / 3, 2 / 3), gamma=0.1),
    }


def scenes(case: Case, needs: Truth) -> tuple[Scenes, Scenes]:
    """Return the pictures of the training and of the test part with their truth, of the same classes."""
    from coview.data.collected_scenes import CollectedScenes, class_names
    from coview.data.collection import Collection

    asked = case.arguments
    whole = Collection.open(asked.collection)
    other = Collection.open(asked.test_collection) if asked.test_collection else whole
    classes = class_names(whole)
    train = CollectedScenes(whole.select(split=asked.train_split, fold=case.fold), needs, classes)
    return train, CollectedScenes(other.select(split=asked.test_split, fold=case.fold), needs, classes, empty=True)


def beside_permuted(
    case: Case, train: P, permuted: Callable[[P, int], P], measure: Callable[[P, Path, str], Result]
) -> Result:
    """Return what `measure(training scenes, folder, name)` finds; with --controls also what a model learns from other
    pictures' truth, `permuted(training scenes, seed)`, under the name "permuted".
    """
    from coview.evaluation.bench import weights_of
    from coview.evaluation.resume import digest
    from coview.evaluation.verdict import is_control

    asked: Any = case.arguments
    folder = asked.out or asked.model[0] / "evaluations" / "image-transfer"
    # Runs of their own for these weights and pictures: finished ones of others must not answer for them.
    of = digest({**weights_of(case.model), "train": train.fingerprint})
    result = measure(train, folder / f"{case.label}-{of}", case.name)
    if asked.controls and not is_control(case.name) and len(train) > 1:
        control = measure(permuted(train, case.seed), folder / f"{case.label}-permuted-{of}", "permuted")
        result.results += control.results
        result.report(control.problems)
        result.notes += ["permuted: the same training, each picture with the truth of another"]
    return result
