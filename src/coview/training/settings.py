"""The settings of a run: what is trained, on what, and how; one tree, resolved once, stored with the run."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from coview.data.augment import AugmentSettings
from coview.errors import SettingsError
from coview.files import read_yaml
from coview.methods import load_method
from coview.methods.recipe import OptimiserSettings as OptimiserSettings
from coview.methods.recipe import Recipe
from coview.methods.recipe import ScheduleSettings as ScheduleSettings
from coview.settings import from_dict, to_dict

_MOST = 10**9  # of anything that is counted; more is a mistake of the keyboard
_WRITTEN = {"device", "keep", "steps", "watch_every", "workers"}  # a run's own file says all of these, a person's few
_COUNTS = ("epochs", "steps", "batch_size", "accumulate", "cached", "checkpoint_every", "keep", "watch_every")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long, how much at once, on what."""

    epochs: int = 100  # passes over the recordings
    steps: int | None = None  # optimiser steps; when given, used instead of epochs
    batch_size: int = 32  # samples per optimiser step, all processes together
    accumulate: int = 1  # parts that each process's share is cut into; adds no negatives
    # Parts that each of these is encoded in, twice, while the loss sees them together: GradCache, for large batches.
    cached: int = 1
    precision: Literal["float32", "bf16"] = "float32"  # bf16: mixed precision, losses in float32
    device: str = "auto"  # "cpu", "cuda", or auto: a GPU where there is one
    workers: int | Literal["auto"] = "auto"  # readers per process; auto: one per CPU to decode media, else none
    sync_batchnorm: bool = True  # statistics of the global batch
    compile: bool = False  # compile each encoder
    # Compute the encoders' inner activations again in the backward pass instead of keeping them.
    recompute: bool = False
    sharding: Literal["none", "full"] = "none"  # full: divide parameters, gradients, optimiser state over the processes
    checkpoint_every: int = 500  # steps
    keep: int = 2  # checkpoints kept
    watch_every: int = 50  # steps between looks at the embeddings
    features_on_disk: bool = False  # what methods look at between epochs lies in files of the run, not in memory
    # What gets the numbers beside metrics.jsonl; each keeps them in the run's folder, and sends nothing unasked.
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    # Store what is decoded of films, as `coview prepare` would, and read it from then on; auto: where the planned
    # epochs pay, the disk has room, and no random crop of the film itself would become one of a smaller picture.
    films: Literal["auto", "stored", "direct"] = "auto"
    films_gb: float = 100.0  # that stored films of all runs may take
    knn_every: int = 0  # epochs between kNN measurements on the labels; 0: none

    def __post_init__(self) -> None:
        counts: dict[str, Any] = {name: getattr(self, name) for name in _COUNTS}
        wrong = [name for name, value in counts.items() if value is not None and not 1 <= value <= _MOST]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be from 1 to {_MOST}")
        if self.workers != "auto" and not 0 <= self.workers <= 1024:
            raise ValueError("workers must be auto, or from 0 to 1024 on each process")
        if not 0 < self.films_gb <= _MOST:
            raise ValueError(f"films_gb must be above 0, {_MOST} at most")
        if not 0 <= self.knn_every <= _MOST:
            raise ValueError(f"knn_every must be from 0 to {_MOST}")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything a run depends on. In a file, `method_settings` stand under `method`, beside the method's `name`."""

    method: str  # short name, as listed by `coview methods`
    method_settings: Any = None  # the method's own settings; None: its defaults
    collection: str  # a collection folder, a memory-mapped set, or a named world
    # the part of the collection that is learnt from; null: all of it
    split: Literal["train", "validation", "test"] | None = "train"
    seed: int = 0  # of weights, order, cuts and everything random
    clips_per_recording: int = 1  # cuts of each recording in an epoch
    shuffled: bool = False  # break the pairing: the control whose score is what pairs did not teach
    stats: str | None = None  # a file of `coview stats`, for views normalised by "statistics"; None: published ones
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise ValueError("seed must be from 0 to 2^63 - 1")
        if not 1 <= self.clips_per_recording <= 10**6:
            raise ValueError("clips_per_recording must be from 1 to 1000000")
        if self.method_settings is None:
            object.__setattr__(self, "method_settings", load_method(self.method).Settings())


def run_to_dict(settings: RunSettings) -> dict[str, Any]:
    """Return the run's settings as plain data, the method's own under `method` with its `name`."""
    plain: dict[str, Any] = to_dict(settings)
    own = plain.pop("method_settings")
    return {**plain, "method": {"name": settings.method, **own}}


def recommended(method: str, *, tiny: bool = False) -> RunSettings:
    """Return a run of a method with its own recipe, the published one or that of its smallest settings; no collection.

    Raises:
        UsageError: the method is unknown.
    """
    kind = load_method(method)
    return by_recipe(method, kind.Settings.tiny() if tiny else kind.Settings(), kind.recipe(tiny=tiny))


def by_recipe(method: str, own: Any, recipe: Recipe) -> RunSettings:
    """Return a run of a method with its `own` settings, as a recipe says; no collection."""
    return RunSettings(
        method=method,
        method_settings=own,
        collection="",
        clips_per_recording=recipe.clips_per_recording,
        augment=recipe.augment,
        train=TrainSettings(epochs=recipe.epochs, batch_size=recipe.batch_size),
        optimiser=recipe.optimiser,
        schedule=recipe.schedule,
    )


def run_from_dict(data: Mapping[str, Any], base: RunSettings | None = None) -> RunSettings:
    """Read what `run_to_dict` wrote, or a person's shorter version of it.

    Args:
        base: has what the data do not say, of the same method; without it, plain defaults.

    Raises:
        SettingsError: listing every problem of the method's settings and of the others at once.
        UsageError: when the method is unknown.
    """
    rest = _under_todays_names(data)
    method = rest.pop("method", None)
    method = {"name": method} if isinstance(method, str) else method
    if not isinstance(method, Mapping) or not isinstance(method.get("name"), str):
        raise SettingsError(["method: expected a group with the method's `name`, as listed by `coview methods`"])
    base = base if base is not None and base.method == method["name"] else None
    problems: list[str] = []
    own, run = None, None
    try:
        stated = {k: v for k, v in method.items() if k != "name"}
        own = from_dict(load_method(method["name"]).Settings, stated, base and base.method_settings)
    except SettingsError as error:
        problems += [f"method.{problem}" for problem in error.problems]
    try:
        run = from_dict(RunSettings, {"method": method["name"], **rest}, base)
    except SettingsError as error:
        problems += error.problems
    if problems or run is None:
        raise SettingsError(problems)
    return dataclasses.replace(run, method_settings=own)


def _under_todays_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings, which may have been written before, as they are called now."""
    train = data.get("train")
    if not isinstance(train, Mapping):
        return dict(data)
    if "films" not in train and set(train) >= _WRITTEN:
        data = {**data, "train": {**train, "films": "direct"}}
        train = data["train"]
    if "tensorboard" not in train:
        return dict(data)
    rest = {name: value for name, value in train.items() if name != "tensorboard"}
    loggers = {"loggers": ["tensorboard"]} if train["tensorboard"] else {}
    return {**data, "train": {**loggers, **rest}}


def changed(run: RunSettings, settings: Mapping[str, Any]) -> RunSettings:
    """Return a run's settings with some changed, by dotted ("train.epochs") or nested names; as `run_from_dict`."""
    stated: dict[str, Any] = {"method": {"name": run.method}}
    for name, value in settings.items():
        *groups, last = name.split(".")
        place = stated
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = {**place.get(last, {}), **value} if isinstance(value, Mapping) else value
    return run_from_dict(stated, run)


def load_run(path: Path, base: RunSettings | None = None) -> RunSettings:
    """Read a run's settings from a YAML file; errors as in `run_from_dict` and `read_yaml`, with the file's name."""
    data = read_yaml(path, "the settings of a run")
    try:
        return run_from_dict(data, base)
    except SettingsError as error:
        raise SettingsError([f"{path}: {problem}" for problem in error.problems]) from None


def choose_device(asked: str) -> str:
    """Return "cpu" or "cuda" for "auto" or one of them.

    Raises:
        SettingsError: there is no such device.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise SettingsError([f"train.device: expected 'auto', 'cpu' or 'cuda', found {asked!r}"])
    if asked == "cpu":
        return asked
    import torch  # takes seconds; the settings of a run are read without it

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.cuda.is_available():
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
        from coview.data.open import is_decoded  # with torch

        # A process of a comparison may not have processes of its own: it reads by itself.
        alone = multiprocessing.current_process().daemon or not is_decoded(settings.collection)
        workers = 0 if alone else max(1, len(os.sched_getaffinity(0)) // local_world)
    per_epoch = positions // train.batch_size
    steps = train.steps if train.steps is not None else train.epochs * per_epoch
    resolved = dataclasses.replace(
        train, device=device, workers=workers, steps=steps, epochs=max(1, -(-steps // per_epoch))
    )
    return dataclasses.replace(settings, train=resolved)
