"""`coview evaluate fine-tune`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coview.cli.evaluate.common import Case, Models, few_labels, read, run_models
from coview.cli.options import preset

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Train a classifier from the model's encoder, all weights, and test it on ten clips of each recording.

First only the linear layer learns (--warm-up-epochs), then everything. --frozen leaves the encoder as it is: the linear
probe by gradient, with augmentation. --controls trains from random weights too. The runs are kept under
evaluations/fine-tune/ of the model; a stopped call goes on where it was.

Examples:
  coview evaluate fine-tune --model my-run --collection ucf101 --folds 1 2 3 --controls
  coview evaluate fine-tune --model my-run --collection ucf101 --folds 1 --recipe av_ssrl.ucf_fine_tune
  coview evaluate fine-tune --model my-run --collection hmdb51 --folds 1 --epochs 10 --milestones 0.3 0.6 0.8
  coview evaluate fine-tune --model my-run --collection my-collection --frozen --epochs 50 --clips 1
  coview evaluate fine-tune --model my-run --collection my-collection --ratio 0.1 --view audio
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    recipe: str | None = None
    """A published configuration, such as av_ssrl.ucf_fine_tune, instead of the options from --epochs to --preset."""
    view: str = "video"
    """View whose encoder is trained."""
    epochs: int = 16
    """Epochs in which everything learns."""
    warm_up_epochs: int = 5
    """Epochs before them, in which only the linear layer learns."""
    lr: float = 1e-4
    """Rate of Adam."""
    milestones: tuple[float, ...] = (0.375, 0.625, 0.875)
    """Fractions of the epochs after which the rate falls."""
    gamma: float = 0.3
    """Factor on the rate at a milestone."""
    weight_decay: float = 0.0
    """Of the weights; none on biases and normalisation."""
    train_batch: int = 32
    """Clips in an optimiser step, all processes together."""
    clips: int = 10
    """Random cuts of each training recording in an epoch."""
    dropout: float = 0.5
    """On the features."""
    frozen: bool = False
    """Only the linear layer learns, all the time."""
    windows: int = 10
    """Evenly spaced clips of each test recording; their class probabilities are averaged."""
    ten_crop: bool = False
    """Also test on ten crops of every clip: corners and middle, plain and mirrored; probabilities are averaged."""
    frames: int | None = None
    """Another number of frames than in pretraining."""
    size: int | None = None
    """Another side of the picture in pixels than in pretraining."""
    preset: str = "xid"
    """Recipe of augmentation: xid, swav, digits or none."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the networks in training."""
    workers: int | Literal["auto"] = "auto"
    """Readers per process; auto: as many as there are cores where media are decoded, else none."""
    ratio: float | None = None
    """Use this share of each class's training recordings alone, drawn as by few-shot."""
    shots: int | None = None
    """Use this number of each class's training recordings alone."""
    out: Path | None = None
    """Folder of the runs, instead of evaluations/fine-tune/ in the model's."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "fine-tune", DESCRIPTION, argv)
    kept = "linear-by-gradient" if arguments.frozen else "fine-tune"
    return run_models(arguments, ["fine-tune", *argv], _measure, kept=kept, trains=True)


def _measure(case: Case) -> Result:
    from coview.data.part import Part
    from coview.errors import SettingsError
    from coview.evaluation.bench import describe, weights_of
    from coview.evaluation.few_shot import draw, manifest
    from coview.evaluation.fine_tune import FineTune, fine_tune, views_of
    from coview.evaluation.resume import digest
    from coview.recipes import evaluation_recipe

    asked: Any = case.arguments
    changes = {name: value for name in ("frames", "size") if (value := getattr(asked, name)) is not None}
    same = ("view", "epochs", "warm_up_epochs", "lr", "milestones", "gamma", "weight_decay", "dropout", "frozen")
    free = {"workers": asked.workers, "precision": asked.precision}
    free |= {"ten_crop": asked.ten_crop}
    try:
        how = FineTune(
            **{name: getattr(asked, name) for name in same},
            batch_size=asked.train_batch,
            clips_per_recording=asked.clips,
            windows=asked.windows,
            changes=changes,
            augment=preset(asked.preset),
            seed=case.seed,
            **free,
        )
        if asked.recipe:
            how = dataclasses.replace(evaluation_recipe(asked.recipe), view=asked.view, seed=case.seed, **free)
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    train, test = case.sources(views_of(case.model, how))
    words, drawn = [how.view, "linear" if how.frozen else "finetune"], {}
    if (budget := few_labels(asked.ratio, asked.shots)) is not None:
        rows = draw(train, budget, case.seed)
        drawn = manifest(train, rows, budget, case.seed)
        words += [str(budget)]
        train = Part(train, rows)
    folder = asked.out or asked.model[0] / "evaluations" / "fine-tune"
    what = "_".join(words)
    # A run of its own for these weights and recordings: a finished one of others must not answer for them.
    of = digest({**weights_of(case.model), "train": describe(train)})
    result = fine_tune(
        case.model, train, test, folder / f"{what}-{case.label}-{of}", how, name=case.name, what=what,
        progress=case.progress, quiet=asked.json,
    )  # fmt: skip
    result.choices |= {"labels": drawn} if drawn else {}
    return result
