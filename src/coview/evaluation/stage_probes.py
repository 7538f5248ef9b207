"""Protocol image-transfer, linear classifiers on every stage of a frozen encoder of pictures, learnt at once.

The method "stage-probes" is trained by the training loop, so that a killed call goes on where it was, on any number of
processes; its encoder's tensors are compared before and after. Training sees random crops, the test one crop of the
middle. Zhang, Isola & Efros, CVPR 2017 (arXiv 1611.09842); Goyal et al., ICCV 2019 (arXiv 1905.01235).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from coview import methods, parallel
from coview.data.augment import AugmentSettings
from coview.data.source import Source
from coview.data.views import Batch, ViewSpec
from coview.embedding.extract import extract
from coview.errors import CoviewError, UsageError
from coview.evaluation.bench import Progress, Result, describe, leaks, weights_of, why_not_classify
from coview.evaluation.linear_probe import majority
from coview.evaluation.scores import score
from coview.evaluation.starts import rescaled, statistics_of
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.recipe import OptimiserSettings, ScheduleSettings
from coview.methods.stage_probes import Form, StageProbes, StageProbesSettings
from coview.settings import to_dict

if TYPE_CHECKING:
    from coview.model import Model

_RECIPE = StageProbes.published


@dataclass(frozen=True, kw_only=True)
class Probing:
    """How stages are probed; the defaults are those of ImageNet."""

    view: str = "image"
    stages: tuple[str, ...] = ()  # none: all
    form: Form = "bilinear"
    numbers: int = 9600  # of a stage, at most
    changes: dict[str, Any] = field(default_factory=dict)  # of the view, such as {"size": 227}
    rescale: bool = False  # absorb batch normalisation, and balance the layers on training recordings
    epochs: int = _RECIPE.epochs
    lr: float = _RECIPE.optimiser.lr
    weight_decay: float = _RECIPE.optimiser.weight_decay
    milestones: tuple[float, ...] = _RECIPE.schedule.milestones
    gamma: float = _RECIPE.schedule.gamma
    batch_size: int = _RECIPE.batch_size
    augment: AugmentSettings = _RECIPE.augment
    workers: int | Literal["auto"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch_size) < 1:
            raise ValueError("probes need at least one epoch and one picture in a step")
        # What these refuse is refused before anything is read.
        OptimiserSettings(lr=self.lr, weight_decay=self.weight_decay)
        StageProbesSettings(numbers=self.numbers)


def probing_settings(model: Model, how: Probing) -> StageProbesSettings:
    """Return the probes on a model's encoder of a view."""
    return StageProbesSettings(
        base=model.method.about.slug, base_settings=to_dict(model.method.settings), view=how.view,
        changes=how.changes, stages=how.stages, form=how.form, numbers=how.numbers, absorbed=how.rescale,
    )  # fmt: skip


def probed_views(model: Model, how: Probing) -> Mapping[str, ViewSpec]:
    """Return what training and test sources must be cut into."""
    return methods.views_of("stage-probes", probing_settings(model, how))


def stage_probes(
    model: Model,
    train: Source,
    test: Source,
    out: Path,
    how: Probing,
    *,
    name: str,
    progress: Progress = lambda what, done, total: None,
    quiet: bool = True,
) -> Result:
    """Train a linear classifier on every stage at once and test them; continues where an earlier call was stopped.

    Figures: "<view>_<form>@<stage>/<name>", and among the first five where there are eight classes; "_rescaled" stands
    behind the form where the layers were rescaled. Rescaling leaves every channel the same but for a factor, which the
    probes' normalisation takes away, so that they tell whether it changed what is computed.

    Args:
        model: stays as it is.
        train, test: sources cut into `probed_views(model, how)`.
        out: folder of the runs: `start/` and `run/`.

    Raises:
        UsageError: the sources cannot be classified, the model has no such view or stage or cannot be rescaled, or
            `out` holds another run.
        CoviewError: the encoder changed; the figures would be void.
    """
    from coview.model import Model
    from coview.training.loop import train as train_run

    if reason := why_not_classify(train, test):
        raise UsageError(f"{reason}: nothing to probe with")
    start = start_of(model, train, how)
    parallel.on_main(lambda: None if kept_start(out / "start", start, how) else start.save(out / "start"))
    train_run(
        _settings(model, train, how), out / "run", resume=True, init_from=out / "start", source=train, quiet=quiet
    )
    fitted = Model.from_run(out / "run").to(model.device)
    method = cast(StageProbes, fitted.method)
    begun = Model.from_run(out / "start").to(model.device).method
    given, kept = (each.encoders[how.view].state_dict() for each in (begun, method))
    if moved := [key for key, value in given.items() if not torch.equal(value, kept[key])]:
        raise CoviewError(f"{len(moved)} tensors of the encoder changed ({moved[0]}); the figures are void")

    def embed(batch: Batch) -> dict[str, Tensor]:
        with fitted.evaluating(), torch.no_grad():
            scores = method.scores(fitted.prepared(batch).views[how.view])
        return {f"{how.view}/{stage}": values for stage, values in scores.items()}

    found = extract(
        fitted, test, embed=embed, batch_size=how.batch_size, progress=lambda *done: progress("testing", *done)
    )  # fmt: skip
    what, classes = f"{how.view}_{how.form}" + "_rescaled" * how.rescale, len(test.classes)
    result = Result(["image-transfer: stage probes"], [], {"train": describe(train), "test": describe(test)})
    for stage in method.probes:
        scores, there = found.clips[f"{how.view}/{stage}"], found.present[f"{how.view}/{stage}"] & (found.labels >= 0)
        if bool(there.any()):
            probability = scores[there].double().softmax(-1)
            figure = f"{what}@{stage}"
            result.results += score(figure, name, probability, found.labels[there], classes, how.seed, clips=False)
        else:
            result.lacks(f"{what}@{stage}", [f"no labelled test recording has {how.view!r}"])
    known, truth = train.labels[train.labels >= 0], test.labels[test.labels >= 0]
    result.choices[what] = {
        **to_dict(how),
        "dimensions": {stage: cast(Any, probe)[0].dim for stage, probe in method.probes.items()},
        "places": {stage: cast(Any, probe)[0].size for stage, probe in method.probes.items()},
        "normalisation": "batch statistics of all processes, without scale and shift",
        "frozen": "every tensor of the encoder is the same before and after",
        "majority_share": majority(known, truth, classes) if truth.numel() else None,
        "start": model.digest,
    }
    result.weights[name] = [weights_of(model)]
    result.report([*leaks(train, test), *found.problems])
    return result


def start_of(model: Model, train: Source, how: Probing) -> Model:
    """Return the model that training starts from: the encoder's weights under new probes."""
    from coview.model import Model

    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        facts = Facts(rows=len(train), classes=len(train.classes), training=False)
        method = build("stage-probes", probing_settings(model, how), facts)
    given = rescaled(model, train, how.view, how.seed) if how.rescale else model.method.encoders[how.view]
    method.encoders[how.view].load_state_dict(given.state_dict())
    return Model.of(method, statistics_of(model, method.views), train)


def kept_start(folder: Path, start: Model, how: Probing) -> bool:
    """Return whether an earlier call left this start: on another number of threads rescaling rounds it differently, and
    what was trained from counts.
    """
    from coview.model import Model

    if not (how.rescale and (folder / "config.json").is_file()):
        return False
    earlier, own = (each.method.encoders[how.view].state_dict() for each in (Model.from_run(folder), start.to("cpu")))
    return earlier.keys() == own.keys() and all(
        value.shape == own[name].shape and float((value - own[name]).abs().max()) <= 1e-3 * float(value.abs().max())
        for name, value in earlier.items()
    )


def _settings(model: Model, train: Source, how: Probing) -> Any:
    from coview.training.settings import RunSettings, TrainSettings

    batch = min(how.batch_size, len(train))
    return RunSettings(
        method="stage-probes",
        method_settings=probing_settings(model, how),
        collection=train.name,
        seed=how.seed,
        augment=how.augment,
        train=TrainSettings(
            epochs=how.epochs,
            batch_size=batch,
            device=model.device.type,
            workers=how.workers,
            checkpoint_every=max(1, len(train) // batch),
            keep=1,
        ),
        optimiser=OptimiserSettings(kind="sgd", lr=how.lr, weight_decay=how.weight_decay),
        schedule=ScheduleSettings(kind="multistep", milestones=how.milestones, gamma=how.gamma),
    )
