"""Protocol supervised: both encoders learn the labels, stopped early on a VALIDATION part; the ceiling to compare with.

AV-SSRL stops two epochs after the best accuracy on the test part and reports that accuracy. Here the epoch is chosen on
validation recordings, the test part is looked at once, afterwards, and the chosen epoch is stored with the result.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from coview import parallel
from coview.data.augment import AugmentSettings
from coview.data.source import Source
from coview.embedding.extract import Features, extract
from coview.errors import UsageError
from coview.evaluation.bench import Progress, Result, describe, leaks, weights_of, why_not_classify
from coview.evaluation.scores import filled, score
from coview.files import read_json, read_tensors, write_aside, write_tensors
from coview.methods.supervised_av import SupervisedAV, SupervisedAVSettings
from coview.model import Model
from coview.parallel import on_main
from coview.settings import to_dict
from coview.training.loop import train as train_run
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """How the baseline is trained; the defaults are AV-SSRL's."""

    method: SupervisedAVSettings = field(default_factory=SupervisedAVSettings)
    epochs: int = 50  # at most
    patience: int = 2  # epochs without a better validation accuracy, after which training ends
    lr: float = 5e-4
    weight_decay: float = 1e-5
    milestones: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)  # fractions of the longest run: every 10 of 50 epochs
    gamma: float = 0.9
    batch_size: int = 32
    clips_per_recording: int = 1
    windows: int = 10  # evenly spaced clips of each test recording
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    workers: int | Literal["auto"] = "auto"
    device: str = "auto"
    seed: int = 0


def supervised(
    train: Source,
    validation: Source,
    test: Source,
    out: Path,
    how: Supervised,
    *,
    name: str = "supervised-av",
    progress: Progress = lambda what, done, total: None,
    quiet: bool = True,
) -> Result:
    """Train until validation accuracy stops rising, keep the best epoch's model in `out`/model, and test it once.

    Figures: "supervised/<name>" of the joined features, or "<view>_supervised/<name>" of each view's own classifier. A
    later call with the same arguments continues a run that was stopped.

    Raises:
        UsageError: the parts share recordings or lack labels, or `out` holds another run.
    """
    for fitted, asked in ((train, validation), (train, test), (validation, test)):
        reason = why_not_classify(fitted, asked)
        if reason:
            raise UsageError(f"{reason}: nothing to learn from, or to stop by")
    log = _Selection(out / "selection.json", validation, how)

    def after_epoch(epoch: int, model: Model) -> bool:
        found = extract(model, validation, batch_size=how.batch_size)
        guesses = _probabilities(cast(SupervisedAV, model.method), found)
        accuracies = {n: float((p.mean(1).argmax(1) == t).double().mean()) for n, (p, t) in guesses.items()}
        best = log.add(epoch, sum(accuracies.values()) / len(accuracies))
        if best:
            on_main(lambda: _save(model, out))
        return log.ended()

    if not log.done and not log.ended():
        train_run(_settings(train, how), out / "run", resume=True, source=train, after_epoch=after_epoch, quiet=quiet)
    log.finish()
    model = load(out)
    found = extract(
        model.to(_device(how)), test, windows=how.windows, batch_size=how.batch_size,
        progress=lambda done, total: progress("testing", done, total),
    )  # fmt: skip
    result = Result(["supervised"], [], {"train": describe(train), "test": describe(test)})
    result.weights[name] = [weights_of(model)]
    for part in (validation, test):
        result.report(leaks(train, part))
    result.report(found.problems)
    result.choices |= {
        "validation": describe(validation),
        "supervised": {**to_dict(how), "processes": parallel.world_size(), **log.plain()},
    }
    for view, (probability, truth) in _probabilities(cast(SupervisedAV, model.method), found).items():
        what = f"{view}_supervised" if view else "supervised"
        result.results += score(what, name, probability, truth, len(test.classes), how.seed)
    return result


def load(out: Path) -> Model:
    """Return the model of the chosen epoch, with its classifier."""
    model = Model.from_run(out)
    state = model.method.state_dict() | read_tensors(out / "model" / "classifier.safetensors")
    model.method.load_state_dict(state)
    return model


def _save(model: Model, out: Path) -> None:
    """Write the model and, beside it, what the model's own format leaves out: the classifier."""
    model.save(out / "model")
    own = {n: v for n, v in model.method.state_dict().items() if n.startswith(("classifier.", "classifiers."))}
    write_tensors(own, out / "model" / "classifier.safetensors")


def _probabilities(method: SupervisedAV, found: Features) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the classifiers' probabilities (N, W, classes) and the truth (N,) of labelled recordings of all views."""
    device = next(method.parameters()).device
    keep = found.labels >= 0
    for view in method.views:
        keep &= found.present[view]
    if not bool(keep.any()):
        raise UsageError("no labelled recording has all views: there is nothing to measure")
    clips = {view: filled(found, view)[keep].to(device) for view in method.views}
    with torch.no_grad():
        scores = method.logits({view: values.flatten(0, 1) for view, values in clips.items()})
    shape = next(iter(clips.values())).shape[:2]
    truth = found.labels[keep]
    return {
        name: (value.double().softmax(-1).cpu().reshape(*shape, value.shape[-1]), truth)
        for name, value in scores.items()
    }


class _Selection:
    """The validation accuracy of every epoch, kept on disk, so that a stopped run chooses the same epoch."""

    def __init__(self, path: Path, validation: Source, how: Supervised) -> None:
        self.path, self.patience = path, how.patience
        self.accuracy: list[float] = []
        self.done = False
        about = describe(validation)
        if path.is_file():
            stored = read_json(path, "the validation accuracy of epochs", remedy="choose another folder")
            if stored.get("validation") != about:
                raise UsageError(f"{path}: epochs were chosen on other recordings; choose another folder")
            listed = stored.get("accuracy")
            if not isinstance(listed, list) or not all(isinstance(one, float) for one in listed):
                raise UsageError(f"{path}: its accuracies are no list of numbers; choose another folder")
            self.accuracy, self.done = listed, bool(stored.get("done"))
        self.about = about

    def add(self, epoch: int, accuracy: float) -> bool:
        """Note an epoch's accuracy (epochs that a stopped run had noted are written anew); is it the best so far?"""
        self.accuracy = [*self.accuracy[: epoch - 1], accuracy]
        self._write()
        return self.best() == epoch

    def best(self) -> int:
        """Return the first epoch with the highest accuracy, counted from 1."""
        return 1 + max(range(len(self.accuracy)), key=lambda index: self.accuracy[index])

    def ended(self) -> bool:
        """Return whether `patience` epochs have passed since the best."""
        return bool(self.accuracy) and len(self.accuracy) - self.best() >= self.patience

    def finish(self) -> None:
        """Note that training is over."""
        self.done = True
        self._write()

    def plain(self) -> dict[str, Any]:
        """Return what a result says of the choice."""
        return {
            "chosen_epoch": self.best(),
            "chosen_by": "accuracy on the validation part; the test part was looked at once, afterwards",
            "validation_accuracy": self.accuracy,
        }

    def _write(self) -> None:
        stored = {"validation": self.about, "accuracy": self.accuracy, "done": self.done}

        def write() -> None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_aside(self.path, json.dumps(stored, indent=1) + "\n")

        on_main(write)


def _settings(train: Source, how: Supervised) -> RunSettings:
    positions = len(train) * how.clips_per_recording
    batch = min(how.batch_size, positions)
    return RunSettings(
        method="supervised-av",
        method_settings=how.method,
        collection=train.name,
        seed=how.seed,
        clips_per_recording=how.clips_per_recording,
        augment=how.augment,
        train=TrainSettings(
            epochs=how.epochs,
            batch_size=batch,
            device=how.device,
            workers=how.workers,
            checkpoint_every=positions // batch,
            keep=1,
        ),
        optimiser=OptimiserSettings(kind="adam", lr=how.lr, weight_decay=how.weight_decay),
        schedule=ScheduleSettings(kind="multistep", milestones=how.milestones, gamma=how.gamma),
    )


def _device(how: Supervised) -> torch.device:
    from coview.training.settings import choose_device

    return torch.device(choose_device(how.device))
