"""`coview evaluate supervised`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from coview.cli.evaluate.common import Places, SplitName, opened, parts, read, show
from coview.cli.options import preset
from coview.cli.output import Output
from coview.cli.places import check_models, check_sources
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.data.views import ViewSpec

DESCRIPTION = """Train the supervised baseline: both encoders learn the labels, through one classifier of the joined
features or one for each view. Training ends when accuracy on the VALIDATION part has not risen for --patience epochs;
the best epoch's model is kept in OUT/model, tested once, and can be measured by the other protocols. A stopped call
goes on where it was.

Examples:
  coview evaluate supervised --collection my-collection -o ceiling
  coview evaluate supervised --collection digits-av:A --tiny --preset digits --epochs 8 --train-batch 64 -o ceiling
  coview evaluate linear-probe --model my-run --supervised ceiling --collection my-collection
"""


@dataclass(kw_only=True)
class Arguments(Places):
    """What the command takes."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run and of the chosen model."""
    validation_collection: str | None = None
    """Another place for the validation part."""
    validation_split: SplitName = "validation"
    """Where the epoch is chosen."""
    tiny: bool = False
    """Small networks, for a CPU and for the procedural worlds."""
    like: Path | None = None
    """A run or model whose views and encoders are taken over, so that figures compare."""
    fusion: Literal["late", "per-view"] = "late"
    """One classifier on the joined features, or one for each view."""
    preset: str = "xid"
    """Recipe of augmentation: xid, swav, digits or none."""
    epochs: int = 50
    """At most."""
    patience: int = 2
    """Epochs without a better validation accuracy, after which training ends."""
    lr: float = 5e-4
    """Rate of Adam."""
    weight_decay: float = 1e-5
    """Of the weights; none on biases and normalisation."""
    train_batch: int = 32
    """Samples in an optimiser step, all processes together."""
    clips: int = 1
    """Random cuts of each training recording in an epoch."""
    windows: int = 10
    """Evenly spaced clips of each test recording."""
    workers: int | Literal["auto"] = "auto"
    """Readers per process; auto: as many as there are cores where media are decoded, else none."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "supervised", DESCRIPTION, argv)
    check_models(arguments.like)
    check_sources(arguments.collection, arguments.validation_collection, arguments.test_collection)
    from coview import parallel
    from coview.evaluation.keeping import keep_result
    from coview.evaluation.supervised import Supervised, supervised
    from coview.methods.supervised_av import SupervisedAVSettings
    from coview.model import Model
    from coview.training.settings import choose_device

    own = SupervisedAVSettings.tiny() if arguments.tiny else SupervisedAVSettings()
    if arguments.like is not None:
        other = Model.from_run(arguments.like).method.settings
        names = ("video", "audio", "video_encoder", "audio_encoder")
        if not all(hasattr(other, name) for name in names):
            raise UsageError(f"{arguments.like}: its method has no pair of video and audio encoders to be like")
        own = replace(own, **{name: getattr(other, name) for name in names})
    own = replace(own, fusion=arguments.fusion)
    how = Supervised(
        method=own, epochs=arguments.epochs, patience=arguments.patience, lr=arguments.lr,
        weight_decay=arguments.weight_decay, batch_size=arguments.train_batch, clips_per_recording=arguments.clips,
        windows=arguments.windows, augment=preset(arguments.preset), seed=arguments.seed, device=arguments.device,
        workers=arguments.workers,
    )  # fmt: skip
    if len(arguments.folds) > 1:
        raise UsageError("the supervised baseline is one run: name one fold at most")
    fold = arguments.folds[0] if arguments.folds else None
    parallel.initialise(choose_device(arguments.device))
    out = Output(json=arguments.json, quiet=not parallel.is_main())
    try:
        views: dict[str, ViewSpec] = {"video": own.video, "audio": own.audio}
        train, test = parts(arguments, views, fold)
        place = arguments.validation_collection or arguments.collection
        validation = opened(arguments, place, views, arguments.validation_split, fold)
        with out.steps() as progress:
            result = supervised(train, validation, test, arguments.out, how, progress=progress, quiet=arguments.json)
    finally:
        parallel.shutdown()
    code = show(result, out, arguments.json, chosen_epoch=result.choices["supervised"]["chosen_epoch"])
    if parallel.is_main():  # printed first: a full disk must not take the figures away
        keep_result(result, arguments.out, "supervised")
    return code
