"""Learning: one run, features of frozen encoders, or several methods under one budget."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from coview.api.data import open

if TYPE_CHECKING:
    from coview.api.data import Place
    from coview.comparison.evolve import Judged
    from coview.comparison.table import Line
    from coview.data.recording import Split
    from coview.methods.contract import Method
    from coview.methods.pipeline import Found
    from coview.model import Model

Settings: TypeAlias = "Mapping[str, Any]"


def pretrain(
    method: str | type[Method],
    collection: Any,
    out: Place,
    *,
    tiny: bool = False,
    settings: Settings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    init_from: Place | None = None,
    after_step: Callable[[int, Mapping[str, Any]], object] | None = None,
    after_epoch: Callable[[int, Model], bool] | None = None,
    quiet: bool = False,
) -> Model:
    """Train a method without labels, keep the run in `out`, and return the model; see `coview pretrain`.

    Args:
        method: its name, or a class of your own (docs/add-a-method.md), which is then known in this process.
        collection: a name as `open` takes it, a source whose views are the method's, or a map-style dataset of them.
        tiny: start from the method's smallest settings, for a CPU.
        settings: what differs from the method's recipe, named as options are: {"train.epochs": 5,
            "method.temperature": 0.1}, or nested as in settings.yaml.
        resume, overwrite, init_from: as on the command line.
        after_step: called with (steps done, {"loss": ..., "lr": ..., ...}), for logs of your own: `after_step=lambda
            step, numbers: wandb.log(numbers, step)`.
        after_epoch: called with (epochs done, model); where it returns True, training ends there.

    Raises:
        UsageError, SettingsError: unknown method, wrong settings, or something is in `out`.
        CoviewError: see `training.loop.train`.
    """
    from coview import parallel
    from coview.data.open import open_source
    from coview.methods import register_method, views_of
    from coview.model import Model
    from coview.settings import diff
    from coview.training.fitting import fit, sentence
    from coview.training.loop import train
    from coview.training.settings import changed, recommended, run_to_dict

    slug = method if isinstance(method, str) else register_method(method)
    name = str(collection) if isinstance(collection, (str, Path)) else getattr(collection, "name", "")
    start = dataclasses.replace(recommended(slug, tiny=tiny), collection=name)
    asked = changed(start, settings or {})
    views = views_of(slug, asked.method_settings)
    if isinstance(collection, (str, Path)):
        source = open_source(name, views, split=asked.split, seed=asked.seed, shuffled=asked.shuffled)
    else:
        source = open(collection, views)
    stated = {line.partition(":")[0] for line in diff(run_to_dict(start), run_to_dict(asked))}
    fitted, lines = fit(asked, len(source), stated, parallel.world_size())
    if lines and parallel.is_main() and not quiet:
        print(sentence(len(source), lines), file=sys.stderr)
    run = train(
        fitted, Path(out), resume=resume, overwrite=overwrite, init_from=None if init_from is None else Path(init_from),
        source=source, after_step=after_step, after_epoch=after_epoch, quiet=quiet,
    )  # fmt: skip
    return Model.from_run(run)


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
    from coview.training.settings import changed

    name = ",".join(f"{view}={path}" for view, path in features.items()) + (f"@{beside}" if beside else "")
    run = changed(fusion_run(method, name, split=split), settings or {})
    return fit(run, Path(out)) if load_method(method).closed_form else Model.from_run(train(run, Path(out)))


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
    from coview.comparison.plan import Comparison
    from coview.comparison.run import perform_all
    from coview.comparison.table import summarise

    asked = Comparison(
        methods=tuple(methods), data=str(data), out=Path(out), samples=samples, seeds=seeds, supervised=supervised,
        shuffled_seeds=shuffled_seeds, shared=settings or {}, preset="xid", tiny=tiny, changes=(),
    )  # fmt: skip
    return summarise(perform_all(asked))


def evolve(
    method: str,
    collection: Place,
    out: Place,
    *,
    over: Sequence[str] = (),
    tiny: bool = False,
    settings: Settings | None = None,
    strategy: Literal["cma", "tournament", "random"] = "cma",
    evaluations: int = 100,
    population: int = 10,
    clusters: int = 100,
    seed: int = 0,
    workers: int | None = 1,
) -> list[Judged]:
    """Search settings from 0 to 1 by many short runs, judged without labels; see `coview evolve`.

    A stopped search goes on where it was. `comparison.evolve.best_of` picks the fittest.

    Args:
        over: names of settings, such as "method.weights.order/video"; none: those that the method names.
        settings: of every run, as of `pretrain`, such as {"train.steps": 200}.
        workers: runs at a time; 0 works in this process.
    """
    from coview.comparison.evolve import Search, searched
    from coview.comparison.evolve import evolve as run
    from coview.data.executors import choose_executor
    from coview.training.settings import changed, recommended

    base = dataclasses.replace(recommended(method, tiny=tiny), collection=str(collection))
    base = changed(base, settings or {})
    asked = Search(
        run=base, over=searched(base, over), strategy=strategy, evaluations=evaluations, population=population,
        clusters=clusters, seed=seed,
    )  # fmt: skip
    return run(asked, Path(out), choose_executor("processes", workers))


def discover(
    pipeline: str,
    collection: Place,
    out: Place,
    *,
    split: Split | None = None,
    tiny: bool = False,
    settings: Settings | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> Found:
    """Find clusters of patches that show one thing, keep the stages in `out`, and return them; see `coview discover`.

    A stopped call goes on where it was. `evaluation.discovered.write_page` shows what was found.

    Args:
        pipeline: its name, such as "context-discovery".
        tiny: start from the smallest settings, for some dozens of small pictures.
        settings: what differs from the defaults: {"patch": 6}.
        workers: processes; None means one per core, 0 works in this one.
    """
    from coview.data.collection import Collection
    from coview.data.executors import choose_executor
    from coview.methods import load_pipeline
    from coview.methods.pipeline import discover as run
    from coview.settings import from_dict

    kind = load_pipeline(pipeline).Settings
    asked = from_dict(kind, settings or {}, kind.tiny() if tiny else None)
    part = Collection.open(str(collection)).select(split=split)
    return run(pipeline, part, Path(out), asked, choose_executor("processes", workers), seed=seed)
