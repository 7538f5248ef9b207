"""The runs of a comparison: which there are, and with which settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from coview.data.augment import PRESETS
from coview.data.memmap import fill
from coview.data.open import open_source
from coview.data.synthetic import is_world, parse_world
from coview.data.views import raw_views
from coview.errors import SettingsError, UsageError
from coview.methods import load_method, views_of
from coview.settings import from_dict, to_dict
from coview.training.fitting import fit, sentence
from coview.training.settings import RunSettings, run_from_dict, run_to_dict

RECIPE = ("optimiser", "schedule")  # shared settings that a method can have changed for itself


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        methods: short names; what follows an @ tells variants of one method apart ("avid@self", changed by `changes`).
        data: collection folder, memory-mapped set or world; a world is rendered once for each set of views.
        out: folder for everything.
        samples: training samples of every run.
        seeds, shuffled_seeds: runs of each method, on true and on shuffled pairs.
        supervised: also train supervised-av, a classifier for each view alone.
        shared: settings that all runs share: train, optimiser, schedule, augment.
        preset: recipe of augmentation, where `shared` has none.
        tiny: the methods' smallest settings, on the views of the world.
        changes: METHOD.SETTING=VALUE, of a method and all its variants or of one variant; * stands for every method
            that has the setting.
        after: method -> the method of the same comparison from whose run of the same seed it starts.
        test_data: what is measured on, where it is not a part of `data`; a memory-mapped set is one part.
        validate: measure on the validation part.
        recordings: of a world, how many training clips are rendered; None means its usual number.
    """

    methods: tuple[str, ...]
    data: str
    out: Path
    samples: int
    seeds: int
    shuffled_seeds: int
    supervised: bool
    shared: Mapping[str, Any]
    preset: str
    tiny: bool
    changes: tuple[str, ...]
    after: Mapping[str, str] = field(default_factory=dict)
    test_data: str | None = None
    validate: bool = False
    recordings: int | None = None

    def __post_init__(self) -> None:
        if self.recordings is not None and (self.recordings < 1 or not is_world(self.data)):
            raise UsageError(f"recordings {self.recordings}: at least 1, and {self.data} has to be a world")
        if self.seeds < 1 or not 0 <= self.shuffled_seeds <= self.seeds or self.samples < 1 or not self.methods:
            raise UsageError("expected a method, samples >= 1, seeds >= 1 and 0 <= shuffled seeds <= seeds")
        if self.test_data and is_world(self.data):
            raise UsageError(f"test data {self.test_data}: {self.data} has a test part of its own")
        if chained := sorted(set(self.after) & set(self.after.values())):
            raise UsageError(f"{', '.join(chained)} starts from another run, so that no run can start from it in turn")
        if not isinstance(self.shared, Mapping) or set(self.shared) - {"train", "optimiser", "schedule", "augment"}:
            raise SettingsError([f"shared settings: expected train, optimiser, schedule, augment; found {self.shared}"])


@dataclass(frozen=True)
class Task:
    """One run of a method or a variant; kind is "pairs", "shuffled" or "random"."""

    method: str
    seed: int
    kind: str
    settings: dict[str, Any]  # as in settings.yaml
    test: str  # what it is measured on
    part: Literal["validation", "test"]  # of it
    folder: str
    start: str | None = None  # the run whose weights it starts from; it has to be finished before

    @property
    def row(self) -> str:
        """What the table calls it."""
        return {"pairs": self.method, "random": "random"}.get(self.kind, f"{self.method}, {self.kind}")


def plan(comparison: Comparison, say: Callable[[str], None], first: bool = True) -> list[Task]:
    """Return every run of the comparison; a world is rendered by the `first` process, for which the others wait."""
    tasks = []
    part: Literal["validation", "test"] = "validation" if comparison.validate else "test"
    methods = [*comparison.methods, *(["supervised-av"] if comparison.supervised else [])]
    for method in dict.fromkeys(methods):
        base = base_settings(comparison, method)
        train, test = data_of(comparison, base, part, say, first)
        base = fitted(comparison, method, base, train, say)
        kinds = [("pairs", comparison.seeds)]
        if method != "supervised-av":
            kinds += [("shuffled", comparison.shuffled_seeds)]
            kinds += [("random", comparison.seeds)] if method == comparison.methods[0] else []
        for kind, seeds in kinds:
            for seed in range(seeds):
                run = dataclasses.replace(base, collection=train, seed=seed, shuffled=kind == "shuffled")
                folder = comparison.out / "runs" / f"{method}.{kind}.{seed}"
                before = comparison.after.get(method) if kind != "random" else None
                start = str(folder.with_name(f"{before}.{kind}.{seed}") / "run") if before in methods else None
                tasks.append(Task(method, seed, kind, run_to_dict(run), test, part, str(folder), start))
    return tasks


def base_settings(comparison: Comparison, method: str) -> RunSettings:
    """Return the run settings of a method or a variant: the shared ones, its own, and what `--set` changes.

    Raises:
        UsageError, SettingsError: unknown method or setting.
    """
    short = method.partition("@")[0]
    kind = load_method(short).Settings
    own = to_dict(kind.tiny() if comparison.tiny else kind())
    if comparison.tiny and is_world(comparison.data):
        own |= {name: to_dict(view) for name, view in open_source(comparison.data, None).views.items() if name in own}
    if method == "supervised-av":
        own["fusion"] = "per-view"
    recipe = {name: dict(comparison.shared.get(name, {})) for name in RECIPE}
    for change in comparison.changes:
        apply(change, method, own, recipe)
    from_dict(kind, own)  # all its mistakes at once, before anything is trained
    method_settings = {"name": short, **own}
    run = run_from_dict({"collection": comparison.data, **comparison.shared, **recipe, "method": method_settings})
    steps = max(1, comparison.samples // run.train.batch_size)
    train = dataclasses.replace(run.train, steps=steps, knn_every=max(run.train.knn_every, 1))
    augment = run.augment if "augment" in comparison.shared else PRESETS[comparison.preset]
    return dataclasses.replace(run, train=train, augment=augment)


def fitted(
    comparison: Comparison, method: str, settings: RunSettings, train: str, say: Callable[[str], None]
) -> RunSettings:
    """Return the settings as few recordings allow (`training.fitting`), for as many samples as were asked for."""
    if is_world(comparison.data):  # has as many as are asked for
        return settings
    try:
        source = open_source(train, views_of(settings.method, settings.method_settings), split=settings.split)
    except UsageError:  # said by the run itself, in its row of the table
        return settings
    stated = {f"{group}.{name}" for group, values in comparison.shared.items() for name in values}
    stated |= {"method." + change.partition("=")[0].partition(".")[2] for change in comparison.changes}
    found, changed = fit(settings, len(source), stated)
    if changed:
        say(f"{method}: {sentence(len(source), changed)}")
    steps = max(1, comparison.samples // found.train.batch_size)
    return dataclasses.replace(found, train=dataclasses.replace(found.train, steps=steps))


def apply(change: str, method: str, own: dict[str, Any], recipe: dict[str, dict[str, Any]]) -> None:
    """Change a method's plain settings as METHOD.SETTING=VALUE says; nested settings are separated by dots.

    METHOD.optimiser.NAME and METHOD.schedule.NAME change its recipe instead.

    Raises:
        UsageError: the change has another form.
    """
    name, found, _ = change.partition("=")
    who, *path = name.split(".")
    if not found or not path:
        raise UsageError(f"--set {change}: expected METHOD.SETTING=VALUE, such as xid.variant=in-batch")
    if who not in ("*", method, method.partition("@")[0]) or (who == "*" and path[0] not in own):
        return
    place: dict[str, Any] = recipe if path[0] in recipe else own
    for step in path[:-1]:
        place = place.setdefault(step, {})
    place[path[-1]] = value_of(change)


def value_of(change: str) -> Any:
    """Return what stands behind NAME=, read as YAML.

    Raises:
        UsageError: it is no YAML.
    """
    try:
        return yaml.safe_load(change.partition("=")[2])
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        raise UsageError(f"--set {change}: cannot be read as a number, a word or a list") from error


def data_of(
    comparison: Comparison,
    settings: RunSettings,
    part: Literal["validation", "test"],
    say: Callable[[str], None],
    first: bool,
) -> tuple[str, str]:
    """Return what a method trains on and is measured on; a world is rendered into arrays once for each set of views.

    A folder of arrays is named after views and number, so that other settings do not meet it.
    """
    if not is_world(comparison.data):
        return comparison.data, comparison.test_data or comparison.data
    views = views_of(settings.method, settings.method_settings)
    try:
        open_source(comparison.data, views)
    except UsageError:  # said by the run itself, in its row of the table
        return comparison.data, comparison.data
    what = {"views": to_dict(views), "recordings": comparison.recordings}
    name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    splits: tuple[Literal["train", "validation", "test"], ...] = ("train", part)
    folders = {split: comparison.out / "data" / f"{name}-{split}" for split in splits}
    for split, folder in folders.items():
        count = comparison.recordings if split == "train" else None
        while not first and not (folder / "memmap.json").is_file():
            time.sleep(1)
        if not (folder / "memmap.json").is_file():
            say(f"rendering {comparison.data}, {split}, for {settings.method}")
            source = parse_world(comparison.data, split, count, views=raw_views(views))
            fill(source, folder, placing="random" if split == "train" else "even")
    return str(folders["train"]), str(folders[part])
