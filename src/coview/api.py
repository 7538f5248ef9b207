"""The Python surface: the verbs of the command line as functions. `import coview` offers them all.

Two names differ from the command line's, because `coview.search` and `coview.methods` are packages, and importing one
of their files would put the package in the place of a function: `find` searches, `list_methods` lists the methods.

Nothing heavy is imported before a function is called. Errors are `coview.errors.CoviewError`; each says what to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from coview.comparison.table import Line
    from coview.data.collection import Collection
    from coview.data.recording import Split
    from coview.data.source import Source
    from coview.data.stored import Stored
    from coview.data.views import ViewSpec
    from coview.evaluation.bench import Result
    from coview.methods.cards import Card
    from coview.methods.contract import Method
    from coview.model import Model
    from coview.search.query import Hit
    from coview.training.settings import RunSettings

Place: TypeAlias = "Path | str"
Settings: TypeAlias = "Mapping[str, Any]"

__all__ = [
    "compare", "embed", "evaluate", "find", "fuse", "index", "list_methods", "load", "open", "pretrain",
]  # fmt: skip


def list_methods() -> dict[str, Card]:
    """Return name -> card of every method: title, paper, family, views, what is verified, settings with their help."""
    from coview.methods import available
    from coview.methods.cards import card_of

    return {slug: card_of(slug) for slug in sorted(available())}


def index(
    source: Place,
    out: Place,
    *,
    labels_from_folders: bool = False,
    folder: Place | None = None,
    count: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
) -> Collection:
    """Scan a folder, a manifest or a named data set into a collection, and return it; see `coview index`.

    Args:
        source: a folder, a .csv, .jsonl or .parquet manifest, or a name such as "tuxpaint" or "digits-av:A".
        out: the collection's folder.
        labels_from_folders: label recordings by the folder they lie in.
        folder, count, seed: of a named data set: where its files lie, how many recordings to make, of what is random.
        workers: probing processes; one per core by default.

    Raises:
        UsageError: there is no such source, or something is in `out`.
    """
    from coview.data.adapters import Options
    from coview.data.index import index_source

    options = Options(folder=None if folder is None else Path(folder), count=count, seed=seed)
    return index_source(
        str(source), Path(out), labels_from_folders=labels_from_folders, options=options, workers=workers,
        overwrite=overwrite,
    )  # fmt: skip


def open(
    name: Place,
    views: Model | Mapping[str, ViewSpec] | None = None,
    *,
    split: Split | None = None,
    fold: int | None = None,
    seed: int = 0,
) -> Source:
    """Return what yields samples: a collection, a prepared copy, arrays, features or a world; see `data.open_source`.

    Args:
        views: what is cut: a model's, or view -> specification; None: the world's own, or those that are stored.

    Raises:
        UsageError: there is no such source, or it cannot be cut this way.
    """
    from coview.data.open import open_source

    wanted = views if views is None or isinstance(views, Mapping) else views.needed
    return open_source(str(name), wanted, split=split, fold=fold, seed=seed)


def pretrain(
    method: str | type[Method],
    collection: Place | Source,
    out: Place,
    *,
    tiny: bool = False,
    settings: Settings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    init_from: Place | None = None,
    after_epoch: Callable[[int, Model], bool] | None = None,
    quiet: bool = False,
) -> Model:
    """Train a method without labels, keep the run in `out`, and return the model; see `coview pretrain`.

    Args:
        method: its name, or a class of your own (docs/add-a-method.md), which is then known in this process.
        collection: a name as `open` takes it, or a source, whose views must be the method's.
        tiny: start from the method's smallest settings, for a CPU.
        settings: what differs from the method's recipe, named as options are: {"train.epochs": 5,
            "method.temperature": 0.1}, or nested as in settings.yaml.
        resume, overwrite, init_from: as on the command line.
        after_epoch: called with (epochs done, model); where it returns True, training ends there.

    Raises:
        UsageError, SettingsError: unknown method, wrong settings, or something is in `out`.
        CoviewError: see `training.loop.train`.
    """
    from coview.methods import register_method
    from coview.model import Model
    from coview.training.loop import train
    from coview.training.settings import recommended

    slug = method if isinstance(method, str) else register_method(method)
    named = isinstance(collection, (str, Path))
    start = dataclasses.replace(
        recommended(slug, tiny=tiny), collection=str(collection) if named else getattr(collection, "name", "")
    )
    run = train(
        _changed(start, settings or {}), Path(out), resume=resume, overwrite=overwrite,
        init_from=None if init_from is None else Path(init_from), source=None if named else collection,  # type: ignore[arg-type]
        after_epoch=after_epoch, quiet=quiet,
    )  # fmt: skip
    return Model.from_run(run)


def _changed(run: RunSettings, settings: Settings) -> RunSettings:
    """Return a run's settings with some changed, by dotted or nested names."""
    from coview.training.settings import run_from_dict

    stated: dict[str, Any] = {"method": {"name": run.method}}
    for name, value in settings.items():
        *groups, last = name.split(".")
        place = stated
        for group in groups:
            place = place.setdefault(group, {})
        if isinstance(value, Mapping) and isinstance(place.get(last), dict):
            place[last] |= value
        else:
            place[last] = value
    return run_from_dict(stated, run)


def load(path: Place) -> Model:
    """Read a model from its folder or from a run's folder; see `coview.model.Model`.

    Raises:
        UsageError: there is no model, or its files do not fit each other.
    """
    from coview.model import Model

    return Model.from_run(path)


def evaluate(
    protocols: str | Sequence[str],
    model: Model | Place,
    collection: Place | tuple[Source | None, Source],
    *,
    train_split: Split = "train",
    test_split: Split = "test",
    controls: bool = False,
    windows: int = 1,
    seed: int = 0,
) -> Result:
    """Measure a model by "linear-probe", "knn", "retrieval" or several of them; nothing is written.

    `result.results` are the figures: name, value, low and high of the 95 % interval, chance, n, seeds.

    Args:
        collection: a name as `open` takes it; or the training part (None for retrieval) and the test part.
        controls: also measure random weights of the same architecture.

    Raises:
        UsageError: unknown protocol, or recordings that cannot be cut into the model's views.
    """
    from coview.evaluation.controls import NOTE, random_weights
    from coview.evaluation.protocols import evaluate as measure

    model = _model(model)
    if isinstance(collection, tuple):
        train, test = collection
    else:
        train, test = open(collection, model, split=train_split), open(collection, model, split=test_split)
    result = measure(protocols, model, train, test, name=model.method.about.slug, windows=windows, seed=seed)
    if controls:
        rival = random_weights(model, train or test, seed=seed)
        other = measure(protocols, rival, train, test, name="random", windows=windows, seed=seed)
        result.results += other.results
        result.report(other.problems)
        result.notes += [NOTE]
    return result


def compare(
    methods: Sequence[str],
    data: Place,
    out: Place,
    *,
    samples: int = 60_000,
    seeds: int = 3,
    shuffled_seeds: int = 1,
    supervised: bool = True,
    tiny: bool = False,
    settings: Settings | None = None,
) -> list[Line]:
    """Train several methods under one budget beside their controls, one run after another; see `coview compare`.

    A stopped call goes on where it was. Returns the rows of the table; `comparison.table.to_markdown` writes them.

    Args:
        samples: training samples of every run.
        seeds, shuffled_seeds: runs of each method, on true and on shuffled pairs.
        supervised: also train a classifier for each view.
        settings: what all runs share, nested: train, optimiser, schedule, augment.
    """
    from coview.comparison.plan import Comparison, plan
    from coview.comparison.run import perform, stored, stored_at
    from coview.comparison.table import summarise

    asked = Comparison(
        methods=tuple(methods), data=str(data), out=Path(out), samples=samples, seeds=seeds, supervised=supervised,
        shuffled_seeds=shuffled_seeds, shared=settings or {}, preset="xid", tiny=tiny, changes=(),
    )  # fmt: skip
    tasks = plan(asked, lambda text: None)
    for task in sorted(tasks, key=lambda task: bool(task.start)):  # those that start from another run's weights last
        if stored(task) is None:
            perform(task)
    return summarise([stored_at(Path(task.folder)) for task in tasks])


def embed(
    model: Model | Place,
    collection: Place | Source,
    out: Place,
    *,
    space: Literal["projected", "backbone"] = "projected",
    windows: int = 4,
    batch_size: int = 64,
) -> Stored:
    """Write the embeddings of a collection into a folder and return them; see `coview embed`.

    `clips[view]` is (recordings, windows, numbers), of length 1; `present`, `start`, `ids` and `paths` go with it. For
    a few files or tensors, `Model.embed`, `Model.encode_video` and `Model.encode_audio` return tensors.

    Raises:
        UsageError: the folder holds something else.
    """
    from coview.embedding.stored import store
    from coview.search.places import open_with_paths

    model = _model(model)
    if isinstance(collection, (str, Path)):
        source, paths = open_with_paths(str(collection), model)
    else:
        source, paths = collection, []
    return store(model, source, Path(out), paths=paths, space=space, windows=windows, batch_size=batch_size)


def find(
    model: Model | Place,
    embeddings: Stored | Place,
    query: Place,
    *,
    source: str,
    target: str,
    k: int = 5,
    windows: int = 4,
) -> list[Hit]:
    """Return the recordings nearest to a file, best first, exactly; `coview search` on the command line.

    Args:
        embeddings: what `embed` returned, or its folder.
        query: any audio or video file.
        source, target: views of the model, such as "audio" and "video": what of the query, and what of the recordings.

    Raises:
        UsageError: the embeddings are another model's, or have no such view.
        MediaError: the file cannot be read.
    """
    from coview.data.stored import open_stored
    from coview.embedding.stored import check_model
    from coview.search.query import search

    model = _model(model)
    stored = open_stored(Path(embeddings)) if isinstance(embeddings, (str, Path)) else embeddings
    check_model(stored, model)
    return search(stored, target, model.embed([query], view=source, windows=windows)[source][0], k)


def fuse(
    method: str,
    features: Mapping[str, Place],
    out: Place,
    *,
    beside: Place | None = None,
    split: Split = "train",
    settings: Settings | None = None,
) -> Model:
    """Bring features of two or more frozen encoders into one space, and return the model; see `coview fuse`.

    Args:
        method: one of the correlation family; those of CCA are solved at once, the others trained.
        features: view -> what `embed` wrote, or a Parquet, .safetensors or .npy file; joined by the recordings' ids.
        beside: the collection or world that the features are of: it has their labels and splits.
        settings: as of `pretrain`, such as {"method.components": 64}.

    Raises:
        UsageError: the method does not fuse features, or the files do not fit together.
    """
    from coview.methods import load_method
    from coview.model import Model
    from coview.training.closed_form import fit
    from coview.training.fusing import fusion_run
    from coview.training.loop import train

    name = ",".join(f"{view}={path}" for view, path in features.items()) + (f"@{beside}" if beside else "")
    run = _changed(fusion_run(method, name, split=split), settings or {})
    return fit(run, Path(out)) if load_method(method).closed_form else Model.from_run(train(run, Path(out)))


def _model(model: Model | Place) -> Model:
    return load(model) if isinstance(model, (str, Path)) else model
