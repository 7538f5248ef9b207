"""The settings of a run: what is trained, on what, and how; one tree, resolved once, stored with the run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from coview.data.augment import AugmentSettings
from coview.data.open import is_decoded
from coview.errors import SettingsError
from coview.methods import load_method
from coview.methods.recipe import OptimiserSettings as OptimiserSettings
from coview.methods.recipe import ScheduleSettings as ScheduleSettings
from coview.settings import from_dict, to_dict


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long, how much at once, on what."""

    epochs: int = 100
    steps: int | None = None  # optimiser steps; when given, used instead of epochs
    batch_size: int = 32  # samples per optimiser step, all processes together
    accumulate: int = 1  # parts that each process's share is cut into; adds no negatives
    precision: Literal["float32", "bf16"] = "float32"
    device: str = "auto"  # "cpu", "cuda", or auto: a GPU where there is one
    workers: int | Literal["auto"] = "auto"  # readers per process; auto: one per CPU to decode media, else none
    sync_batchnorm: bool = True  # statistics of the global batch
    compile: bool = False  # compile each encoder
    recompute: bool = (
        False  # compute the encoders' inner activations again in the backward pass instead of keeping them
    )
    sharding: Literal["none", "full"] = "none"  # full: divide parameters, gradients, optimiser state over the processes
    checkpoint_every: int = 500  # steps
    keep: int = 2  # checkpoints kept
    watch_every: int = 50  # steps between looks at the embeddings
    features_on_disk: bool = False  # what methods look at between epochs lies in files of the run, not in memory
    tensorboard: bool = False  # write TensorBoard files too
    knn_every: int = 0  # epochs between kNN measurements on the labels; 0: none

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("epochs", "batch_size", "accumulate", "checkpoint_every")}
        counts |= {"keep": self.keep, "watch_every": self.watch_every}
        wrong = [name for name, value in counts.items() if value < 1]
        if self.steps is not None and self.steps < 1:
            wrong.append("steps")
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be at least 1")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything a run depends on. In a file, `method_settings` stand under `method`, beside the method's `name`."""

    method: str  # short name, as listed by `coview methods`
    method_settings: Any = None  # the method's own settings; None: its defaults
    collection: str  # a collection folder, a memory-mapped set, or a named world
    split: Literal["train", "validation", "test"] | None = "train"
    seed: int = 0
    clips_per_recording: int = 1  # cuts of each recording in an epoch
    shuffled: bool = False  # break the pairing: the control whose score is what pairs did not teach
    stats: str | None = None  # a file of `coview stats`, for views normalised by "statistics"; None: published ones
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)

    def __post_init__(self) -> None:
        if self.method_settings is None:
            object.__setattr__(self, "method_settings", load_method(self.method).Settings())


def run_to_dict(settings: RunSettings) -> dict[str, Any]:
    """Return the run's settings as plain data, the method's own under `method` with its `name`."""
    plain: dict[str, Any] = to_dict(settings)
    own = plain.pop("method_settings")
    return {**plain, "method": {"name": settings.method, **own}}


def run_from_dict(data: Mapping[str, Any]) -> RunSettings:
    """Read what `run_to_dict` wrote, or a person's shorter version of it.

    Raises:
        SettingsError: listing every problem of the method's settings and of the others at once.
        UsageError: when the method is unknown.
    """
    rest = dict(data)
    method = rest.pop("method", None)
    method = {"name": method} if isinstance(method, str) else method
    if not isinstance(method, Mapping) or not isinstance(method.get("name"), str):
        raise SettingsError(["method: expected a group with the method's `name`, as listed by `coview methods`"])
    problems: list[str] = []
    own, run = None, None
    try:
        own = from_dict(load_method(method["name"]).Settings, {k: v for k, v in method.items() if k != "name"})
    except SettingsError as error:
        problems += [f"method.{problem}" for problem in error.problems]
    try:
        run = from_dict(RunSettings, {"method": method["name"], **rest})
    except SettingsError as error:
        problems += error.problems
    if problems or run is None:
        raise SettingsError(problems)
    return dataclasses.replace(run, method_settings=own)


def load_run(path: Path) -> RunSettings:
    """Read a run's settings from a YAML file; errors as in `run_from_dict`, with the file's name."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(data, Mapping):
        raise SettingsError([f"{path}: expected a mapping of settings, found {type(data).__name__}"])
    try:
        return run_from_dict(data)
    except SettingsError as error:
        raise SettingsError([f"{path}: {problem}" for problem in error.problems]) from None


def choose_device(asked: str) -> str:
    """Return "cpu" or "cuda" for "auto" or one of them.

    Raises:
        SettingsError: there is no such device.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked not in ("cpu", "cuda"):
        raise SettingsError([f"train.device: expected 'auto', 'cpu' or 'cuda', found {asked!r}"])
    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingsError(["train.device: 'cuda' was asked for, but torch finds no GPU (coview doctor tells more)"])
    return asked


def resolve(settings: RunSettings, *, device: str, rows: int, world: int, local_world: int = 1) -> RunSettings:
    """Return the settings with every "auto" replaced and the steps counted, for a source of `rows` recordings.

    Raises:
        SettingsError: the global batch is larger than an epoch, or cannot be cut evenly.
    """
    train = settings.train
    positions, problems = rows * settings.clips_per_recording, []
    if train.batch_size % (world * train.accumulate):
        problems.append(
            f"train.batch_size: {train.batch_size} cannot be cut evenly into {world} processes x {train.accumulate} "
            f"accumulated parts; choose a multiple of {world * train.accumulate}"
        )
    if train.batch_size > positions:
        problems.append(
            f"train.batch_size: {train.batch_size} is larger than an epoch of {positions} samples ({rows} recordings x "
            f"{settings.clips_per_recording} clips); choose a smaller one or more clips_per_recording"
        )
    if problems:
        raise SettingsError(problems)
    workers = train.workers
    if workers == "auto":
        workers = max(1, len(os.sched_getaffinity(0)) // local_world) if is_decoded(settings.collection) else 0
    per_epoch = positions // train.batch_size
    steps = train.steps if train.steps is not None else train.epochs * per_epoch
    resolved = dataclasses.replace(
        train, device=device, workers=workers, steps=steps, epochs=max(1, -(-steps // per_epoch))
    )
    return dataclasses.replace(settings, train=resolved)
