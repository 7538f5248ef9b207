"""`coview evaluate image-transfer --task strategies`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coview.cli.evaluate.common import Case, Models, read, run_models
from coview.cli.options import preset

if TYPE_CHECKING:
    from coview.evaluation.bench import Result
    from coview.evaluation.fine_tune import FineTune

TASK = "image-transfer --task strategies"
DESCRIPTION = """Learn another task from a model in four ways, each from the same new linear layer.

init: training starts from its weights; freeze: only the linear layer learns; augment: a new encoder learns, with the
model's features beside its own; joint: the encoder learns the new task and goes on with the old one. --controls does
the same from random weights. --rescale measures each with and without rescaled layers. A stopped call goes on.

Examples:
  coview evaluate image-transfer --task strategies --model my-run --collection my-pictures --controls
  coview evaluate image-transfer --task strategies --model my-run --collection my-pictures --strategies init freeze
    --train-from conv3 --rescale
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    strategies: tuple[Literal["init", "freeze", "augment", "joint"], ...] = ("init", "freeze", "augment", "joint")
    """Which of them."""
    view: str = "image"
    """View whose encoder is used."""
    joint_weight: float = 1.0
    """Weight of the old loss in joint; 0 is init."""
    head_from: str | None = None
    """Stage whose mean the linear layer reads, instead of the features."""
    train_from: str | None = None
    """First stage that learns in init and joint; those below stay as they are."""
    reinit_from: str | None = None
    """First stage that starts from new weights, in all but augment."""
    rescale: bool = False
    """Measure with rescaled layers too: batch normalisation absorbed, and all layers balanced to learn at one rate."""
    epochs: int = 16
    """Epochs of each strategy."""
    lr: float = 1e-4
    """Rate of Adam."""
    weight_decay: float = 0.0
    """Of the weights; none on biases and normalisation."""
    train_batch: int = 32
    """Pictures in an optimiser step, all processes together."""
    dropout: float = 0.5
    """On the features."""
    preset: str = "xid"
    """Recipe of augmentation: xid, swav, digits or none."""
    workers: int | Literal["auto"] = "auto"
    """Readers per process; auto: as many as there are cores where media are decoded, else none."""
    out: Path | None = None
    """Folder of the runs, instead of evaluations/image-transfer/ in the model's."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, TASK, DESCRIPTION, argv)
    words = ["image-transfer", "--task", "strategies", *argv]
    return run_models(arguments, words, _measure, kept="image-transfer-strategies", trains=True)


def _measure(case: Case) -> Result:
    from coview.data.views import raw_views
    from coview.evaluation.bench import describe, weights_of
    from coview.evaluation.resume import digest
    from coview.evaluation.strategies import transfer, wanted_views

    asked: Any = case.arguments
    how = _how(asked, case.seed)
    train, test = case.sources(raw_views(wanted_views(case.model, asked.strategies, how)))
    folder = asked.out or asked.model[0] / "evaluations" / "image-transfer"
    # Runs of their own for these weights and recordings: finished ones of others must not answer for them.
    of = digest({**weights_of(case.model), "train": describe(train)})
    return transfer(
        case.model, train, test, folder / f"{case.label}-{of}", how, asked.strategies, name=case.name,
        weight=asked.joint_weight, rescale=asked.rescale, progress=case.progress, quiet=asked.json,
    )  # fmt: skip


def _how(asked: Any, seed: int) -> FineTune:
    from coview.errors import SettingsError
    from coview.evaluation.fine_tune import FineTune
    from coview.evaluation.strategies import strategy_of

    same = (
        "view", "epochs", "lr", "weight_decay", "dropout", "head_from", "train_from", "reinit_from", "workers",
        "windows",
    )  # fmt: skip
    try:
        how = FineTune(
            **{name: getattr(asked, name) for name in same},
            warm_up_epochs=0,
            batch_size=asked.train_batch,
            clips_per_recording=1,
            augment=preset(asked.preset),
            seed=seed,
        )
        strategy_of(how, "joint", asked.joint_weight)
        return how
    except ValueError as error:
        raise SettingsError([str(error)]) from error
