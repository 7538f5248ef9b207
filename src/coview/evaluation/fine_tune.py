"""Protocol fine-tune: the encoder learns the labels too, from a pretrained start and, as control, from random weights.

AVID (arXiv 2004.12943) and AV-SSRL: dropout on the pooled features, one linear layer; first some epochs in which only
that layer learns, then everything; Adam, times 0.3 at three milestones; tested on ten evenly spaced clips of each
recording, softmax then mean, and on the single clips. With `frozen` only the linear layer ever learns: the linear
probe by gradient, with augmentation, of AV-SSRL.

Both stages are runs of the training loop, so that a killed fine-tuning goes on where it was, on any number of
processes, with the same numbers. Nothing is chosen on the test part: the weights are those of the last epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from coview import methods, parallel
from coview.data.augment import AugmentSettings
from coview.data.source import Source
from coview.data.views import ViewSpec
from coview.embedding.extract import extract
from coview.errors import UsageError
from coview.evaluation.bench import Progress, Result, describe, leaks, weights_of, why_not_classify
from coview.evaluation.linear_probe import majority
from coview.evaluation.scores import filled, score
from coview.evaluation.starts import start_from, statistics_of
from coview.evaluation.ten_crop import extract_ten_crops
from coview.methods import build
from coview.methods.classifier import ClassifierSettings
from coview.methods.contract import Facts
from coview.methods.recipe import OptimiserSettings, ScheduleSettings
from coview.settings import to_dict

if TYPE_CHECKING:
    from coview.model import Model


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """How a classifier is trained; the defaults are AVID's for UCF-101 with 8 frames."""

    view: str = "video"
    epochs: int = 16
    warm_up_epochs: int = 5  # before them: only the linear layer learns
    lr: float = 1e-4
    milestones: tuple[float, ...] = (0.375, 0.625, 0.875)  # fractions of the second stage: after epochs 6, 10, 14
    gamma: float = 0.3  # factor on the rate at each milestone
    weight_decay: float = 0.0
    batch_size: int = 32
    clips_per_recording: int = 10  # cuts of each training recording in an epoch
    dropout: float = 0.5
    frozen: bool = False
    marks: int = 0  # classes of which a recording may have several; 0: it has one label
    head_from: str | None = None  # stage whose mean the linear layer reads; None: the features
    train_from: str | None = None  # first stage that learns; None: all
    reinit_from: str | None = None  # first stage that starts from new weights; None: the linear layer alone
    beside: bool = False  # the model's encoder stands, frozen, beside a new one
    joint: float = 0.0  # weight of the loss by which the model learnt, on the one encoder
    rescale: bool = False  # absorb batch normalisation, and balance the layers on training recordings
    head_scale: float | None = None  # deviation of the linear layer's first weights, bias 0.1; None: as torch draws it
    kind: Literal["adam", "sgd"] = "adam"  # optimiser
    clip_gradient: float | None = None  # largest norm of the whole gradient
    bias_rate: float = 1.0  # factor on the learning rate of biases
    windows: int = 10  # evenly spaced clips of each test recording
    ten_crop: bool = False  # test on ten crops of each clip as well
    changes: dict[str, Any] = field(default_factory=dict)  # of the view, such as {"frames": 32, "size": 224}
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    precision: Literal["float32", "bf16"] = "float32"
    workers: int | Literal["auto"] = "auto"  # readers per process; changes no number
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size, self.clips_per_recording, self.windows) < 1 or self.warm_up_epochs < 0:
            raise ValueError(
                "fine-tuning needs epochs >= 1, as batch_size, clips_per_recording and windows, and warm_up_epochs >= 0"
            )
        # What these refuse is refused before anything is read.
        OptimiserSettings(lr=self.lr, weight_decay=self.weight_decay, clip_gradient=self.clip_gradient)
        ScheduleSettings(milestones=self.milestones)
        ClassifierSettings(
            changes=self.changes, dropout=self.dropout, frozen=self.frozen, marks=self.marks,
            train_from=self.train_from, beside=self.beside, joint=self.joint, bias_rate=self.bias_rate,
        )  # fmt: skip


def classifier_settings(model: Model, how: FineTune, *, frozen: bool) -> ClassifierSettings:
    """Return the classifier on a model's encoder of a view."""
    return ClassifierSettings(
        base=model.method.about.slug,
        base_settings=to_dict(model.method.settings),
        view=how.view,
        changes=how.changes,
        dropout=how.dropout,
        frozen=frozen,
        marks=how.marks,
        head_from=how.head_from,
        train_from=how.train_from,
        beside=how.beside,
        joint=how.joint,
        absorbed=how.rescale,
        bias_rate=how.bias_rate,
    )


def views_of(model: Model, how: FineTune) -> Mapping[str, ViewSpec]:
    """Return what training and test sources must be cut into."""
    if how.view not in model.views:
        raise UsageError(f"the model has no view {how.view!r}; it has {', '.join(model.views)}")
    return methods.views_of("classifier", classifier_settings(model, how, frozen=False))


def fine_tune(
    model: Model,
    train: Source,
    test: Source,
    out: Path,
    how: FineTune,
    *,
    name: str,
    what: str | None = None,
    progress: Progress = lambda what, done, total: None,
    quiet: bool = True,
) -> Result:
    """Train a classifier from a model's encoder and test it; continues where an earlier call was stopped.

    Figures: "<view>_finetune/<name>" (with a frozen encoder "<view>_linear/<name>"), and as in `bench.score` the top
    5 and the single clips; with `ten_crop` also "<view>_finetune_10crop/<name>".

    Args:
        model: where the encoder starts; not changed.
        train, test: sources cut into `views_of(model, how)`.
        out: folder of the runs: `start/`, `warm-up/` and `run/`.
        what: the figures' name before the slash, instead of the above.

    Raises:
        UsageError: the sources cannot be classified, or `out` holds runs with other settings.
    """
    reason = why_not_classify(train, test)
    if reason:
        raise UsageError(f"{reason}: nothing to fine-tune on")
    tuned = learn(model, train, out, how, quiet=quiet)
    asked: dict[str, Any] = {"windows": how.windows, "space": "projected", "batch_size": how.batch_size}
    asked["progress"] = lambda done, total: progress("testing", done, total)
    found = extract(tuned, test, **asked)
    what = what or f"{how.view}_{'linear' if how.frozen else 'finetune'}"
    tested = found.present[how.view] & (found.labels >= 0)
    truth, classes = found.labels[tested], len(test.classes)
    probability = filled(found, how.view)[tested].double().softmax(-1)
    known = train.labels[train.labels >= 0]
    choices = {
        **to_dict(how),
        "processes": parallel.world_size(),
        "test_windows": "class probabilities averaged over a recording's windows; _clip figures are of single windows",
        "weights": "of the last epoch; the test part chose nothing",
        "left_out": {"test": int((~tested).sum())},
        "majority_share": None if not truth.numel() else majority(known, truth, classes),
        "start": model.digest,
    }
    lacking = [] if truth.numel() else [f"no labelled test recording has {how.view!r}"]
    figures = [] if lacking else score(what, name, probability, truth, classes, how.seed)
    if how.ten_crop and not lacking:
        crops = filled(extract_ten_crops(tuned, test, **asked), how.view)[tested].double().softmax(-1)
        figures += score(f"{what}_10crop", name, crops, truth, classes, how.seed, clips=False)
    result = Result(
        ["linear-by-gradient" if how.frozen else "fine-tune"],
        figures,
        {"train": describe(train), "test": describe(test), what: choices},
        weights={name: [weights_of(model)]},
    )
    result.report([*leaks(train, test), *found.problems, *[(what, reason) for reason in lacking]])
    return result


def learn(model: Model, train: Source, out: Path, how: FineTune, *, quiet: bool = True) -> Model:
    """Train a classifier from a model's encoder, in `out`, and return it; continues where an earlier call was stopped.

    Raises:
        UsageError: `out` holds runs with other settings, or the encoder cannot be trained this way.
    """
    from coview.model import Model
    from coview.training.loop import train as train_run

    start = write_start(model, train, out / "start", how)
    stages = [("run", start)]
    if how.warm_up_epochs and not how.frozen:
        stages = [("warm-up", start), ("run", out / "warm-up")]
    for folder, begin in stages:
        settings = run_settings(model, train, how, warm_up=folder == "warm-up")
        train_run(settings, out / folder, resume=True, init_from=begin, source=train, quiet=quiet)
    return Model.from_run(out / "run").to(model.device)


def run_settings(model: Model, train: Source, how: FineTune, *, warm_up: bool) -> Any:
    """Return the settings of the first stage, in which only the linear layer learns, or of the second."""
    from coview.training.settings import RunSettings, TrainSettings

    epochs = how.warm_up_epochs if warm_up else how.epochs
    positions = len(train) * how.clips_per_recording
    per_epoch = max(1, positions // min(how.batch_size, positions))
    return RunSettings(
        method="classifier",
        method_settings=classifier_settings(model, how, frozen=warm_up or how.frozen),
        collection=train.name,
        seed=how.seed,
        clips_per_recording=how.clips_per_recording,
        augment=how.augment,
        train=TrainSettings(
            epochs=epochs,
            batch_size=min(how.batch_size, positions),
            precision=how.precision,
            device=next(model.method.parameters()).device.type,
            workers=how.workers,
            checkpoint_every=per_epoch,
            keep=1,
        ),
        optimiser=OptimiserSettings(
            kind=how.kind, lr=how.lr, weight_decay=how.weight_decay, clip_gradient=how.clip_gradient
        ),
        schedule=ScheduleSettings(kind="multistep", milestones=() if warm_up else how.milestones, gamma=how.gamma),
    )


def write_start(model: Model, train: Source, folder: Path, how: FineTune) -> Path:
    """Write the model that training starts from: the encoder's weights behind a new linear layer; return its folder."""
    from coview.model import Model
    from coview.parallel import on_main

    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        facts = Facts(rows=len(train), classes=len(train.classes), training=False)
        method = build("classifier", classifier_settings(model, how, frozen=False), facts)
    start_from(
        method, model, train, view=how.view, seed=how.seed, reinit_from=how.reinit_from, rescale=how.rescale,
        head_scale=how.head_scale,
    )  # fmt: skip
    start = Model.of(method, statistics_of(model, method.views), train)
    on_main(lambda: start.save(folder))
    return folder
