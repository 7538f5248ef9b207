"""What the protocols' commands share: models and their controls, seeds and folds, where the result goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import tyro

from coview.cli.following import embedding
from coview.cli.output import Output
from coview.cli.places import check_models, check_sources
from coview.errors import SettingsError, UsageError

if TYPE_CHECKING:
    import torch

    from coview.data.source import Source
    from coview.data.views import ViewSpec
    from coview.evaluation.bench import Bench, Progress, Result
    from coview.evaluation.few_shot import Budget
    from coview.model import Model

T = TypeVar("T")
Join: TypeAlias = "Callable[[Mapping[int, Result]], Result]"
SplitName = Literal["train", "validation", "test"]


@dataclass(kw_only=True)
class Places:
    """Where recordings come from, and where things run."""

    collection: str
    """Collection folder, prepared copy, memory-mapped set or world whose recordings are used."""
    test_collection: str | None = None
    """Another one for the test part, such as a memory-mapped set, which has no splits."""
    train_split: SplitName = "train"
    """Where classifiers are fitted."""
    test_split: SplitName = "test"
    """Where everything is measured."""
    labels: Path | None = None
    """Table of labels (id, label), such as coview label and the page of coview serve write, or the log itself
    (labels.sqlite: what people said), instead of the collection's own."""
    folds: tuple[int, ...] = ()
    """Official folds of the collection, such as 1 2 3; figures are their mean. Of a small collection whose parts were
    chosen at indexing its two folds are taken by default: what is for tests, and what is for validation."""
    batch_size: int = 64
    """Recordings at a time."""
    seed: int = 0
    """Of everything that is drawn; the n-th model has seed + n."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks run."""
    json: bool = False
    """Print the result as JSON on stdout."""

    @property
    def names_classes(self) -> bool:
        """Whether `labels` are classes of recordings, in place of those that the collection has."""
        return True


@dataclass(kw_only=True)
class Models(Places):
    """Which models are measured, and beside what."""

    model: tuple[Path, ...] = ()
    """Run or model folders: one, or several of one setting with other seeds."""
    name: str | None = None
    """What the figures call the model; its method by default."""
    controls: bool = False
    """Also measure random weights of the same architecture, as many draws as models."""
    shuffled: tuple[Path, ...] = ()
    """Runs of the same setting on shuffled pairs, measured beside the model."""
    supervised: tuple[Path, ...] = ()
    """Runs of supervised-av, the ceiling, measured beside the model."""
    windows: int = 1
    """Evenly spaced cuts of each recording; class probabilities are averaged over them."""


@dataclass(frozen=True)
class Case:
    """One measurement: a model on one pair of parts."""

    arguments: Models
    model: Model
    name: str
    seed: int
    number: int
    fold: int | None
    progress: Progress

    def sources(self, views: Mapping[str, ViewSpec] | None = None) -> tuple[Source, Source]:
        """Return the training and the test part, cut into `views`, by default those of the model's encoders."""
        wanted = views or self.model.needed
        return parts(self.arguments, wanted, self.fold)

    def bench(self) -> Bench:
        """Return the bench for a frozen model."""
        from coview.evaluation.bench import Bench

        train, test = self.sources()
        asked = self.arguments
        return Bench(
            self.model, train, test, name=self.name, seed=self.seed, windows=asked.windows,
            batch_size=asked.batch_size, folder=asked.model[0] / "evaluations" / "features", progress=self.progress,
        )  # fmt: skip

    @property
    def label(self) -> str:
        """Return what tells this case from the others of a call, for the names of folders."""
        return f"{self.name}-{self.number}" + (f"-fold{self.fold}" if self.fold is not None else "")


def read(kind: type[T], protocol: str, description: str, argv: list[str]) -> T:
    """Read a command's arguments."""
    return tyro.cli(kind, prog=f"coview evaluate {protocol}", description=description, args=argv)


def parts(places: Places, views: Mapping[str, ViewSpec], fold: int | None) -> tuple[Source, Source]:
    """Return the training and the test part of the recordings."""
    place = places.test_collection or places.collection
    train = opened(places, places.collection, views, places.train_split, fold)
    test = opened(places, place, views, places.test_split, fold)
    if places.labels and places.names_classes and not bool((train.labels >= 0).any() or (test.labels >= 0).any()):
        raise UsageError(
            f"{places.labels} labels none of the recordings of {places.collection}; their ids are names such as "
            f"{test.ids[0]!r}"
        )
    return train, test


def opened(
    places: Places, name: str, views: Mapping[str, ViewSpec] | None, split: SplitName, fold: int | None
) -> Source:
    """Return a part of the recordings with the labels that count: the collection's own, or those of the table."""
    from coview.data.open import open_source
    from coview.data.relabelled import Relabelled, read_labels

    source = open_source(name, views, split=split, fold=fold)
    if places.labels is None or not places.names_classes:
        return source
    if places.labels.suffix == ".sqlite":
        from coview.search.labels import labels_of

        return Relabelled(source, labels_of(places.labels))
    return Relabelled(source, read_labels(places.labels))


def few_labels(ratio: float | None, shots: int | None) -> Budget | None:
    """Return how few labels a command is asked to use; None for all of them.

    Raises:
        SettingsError: both are given, or a number is impossible.
    """
    from coview.evaluation.few_shot import Budget

    try:
        return None if ratio is None and shots is None else Budget(ratio=ratio, shots=shots)
    except ValueError as error:
        raise SettingsError([str(error)]) from error


def run_models(
    arguments: Models,
    words: Sequence[str],
    measure: Callable[[Case], Result],
    *,
    kept: str = "",
    trains: bool = False,
    figures: bool = True,
) -> int:
    """Measure all models and controls by `measure`, keep the result with the first model, print it.

    Args:
        words: of the command line, the protocol first.
        kept: what the result is called where that is not the protocol's name.
        trains: networks are trained to measure: not once more for the validation part of a small collection.
        figures: without any, nothing could be measured; False where a page is enough.
    """
    protocol = kept or words[0]
    if not arguments.model:
        raise UsageError(f"{protocol} measures a model: pass --model")
    check_models(*arguments.model, *arguments.shuffled, *arguments.supervised)
    check_sources(arguments.collection, arguments.test_collection)
    from coview import parallel
    from coview.evaluation.folds import chosen_folds, over_folds, over_parts
    from coview.evaluation.keeping import keep_result
    from coview.training.settings import choose_device

    device = parallel.initialise(choose_device(arguments.device))
    out = Output(json=arguments.json, quiet=not parallel.is_main())
    usual = (arguments.train_split, arguments.test_split, arguments.test_collection) == ("train", "test", None)
    chosen = chosen_folds(arguments.collection) if usual and not arguments.folds and not trains else ()
    try:
        asked = replace(arguments, folds=arguments.folds or chosen)
        result = measure_all(asked, protocol, measure, device, out, over_parts if chosen else over_folds)
    finally:
        parallel.shutdown()
    code = show(result, out, arguments.json, figures=figures)
    if arguments.controls or not result.results:
        out.next(*embedding(arguments.model[0], arguments.collection))
    else:
        out.next("coview", "evaluate", *words, "--controls")
    if parallel.is_main():  # printed first: a full disk must not take the figures away
        keep_result(result, arguments.model[0], protocol)
    return code


def measure_all(
    arguments: Models, protocol: str, measure: Callable[[Case], Result], device: torch.device, out: Output, join: Join
) -> Result:
    """Measure the models, then each control; `join` makes one result of those of folds."""
    from coview.evaluation.bench import Result
    from coview.evaluation.controls import NOTE, random_weights
    from coview.evaluation.runs import captions_that_name_files, judge, records_of
    from coview.evaluation.verdict import row_name

    models, known = load(arguments.model, device), [records_of(path) for path in arguments.model]
    shuffled = any(records.shuffled for records in known)
    groups = {row_name(arguments.name or models[0].method.about.slug, shuffled): models}
    whole = Result([protocol], [], {})
    for name, paths in (("shuffled", arguments.shuffled), ("supervised-av", arguments.supervised)):
        if paths:
            groups[name] = load(paths, device)
    for path in arguments.shuffled:
        if (of := records_of(path)).folder is not None and not of.shuffled:
            whole.lacks("shuffled", [f"{path} is no run on shuffled pairs, so that it is no such control"])
    if arguments.controls:
        views = models[0].needed
        train, _ = parts(arguments, views, arguments.folds[0] if arguments.folds else None)
        groups["random"] = [
            random_weights(model, train, seed=arguments.seed + number, batch_size=arguments.batch_size)
            for number, model in enumerate(models)
        ]
        whole.notes.append(NOTE)
    for name, members in groups.items():
        measure_group(whole, name, members, arguments, measure, out, join)
    views = models[0].needed
    _, test = parts(arguments, views, arguments.folds[0] if arguments.folds else None)
    if any(view.stream == "text" for view in views.values()):
        whole.report(captions_that_name_files(arguments.test_collection or arguments.collection))
    for records in known:
        judge(whole, records, test, views)
    return whole


def measure_group(
    whole: Result,
    name: str,
    models: list[Model],
    arguments: Models,
    measure: Callable[[Case], Result],
    out: Output,
    join: Join,
) -> None:
    """Add to `whole` the figures of models that differ in their seed alone: means over folds, then over them."""
    from coview.evaluation.measurable import common
    from coview.evaluation.statistics import over_seeds

    results = []
    for number, model in enumerate(models):
        seed, by_fold = arguments.seed + number, {}
        with out.steps() as progress:
            for fold in arguments.folds or (None,):
                by_fold[fold] = measure(Case(arguments, model, name, seed, number, fold, progress))
        results.append(by_fold[None] if None in by_fold else join({k or 0: r for k, r in by_fold.items()}))
    shared, some = common([result.results for result in results])
    whole.results += [over_seeds(same) for same in shared]
    for figure in some:
        whole.lacks(figure, ["not every model has it"])
    whole.choices[name] = [result.choices for result in results]
    for result in results:
        whole.notes += [note for note in result.notes if note not in whole.notes]
        whole.signs += [sign for sign in result.signs if sign not in whole.signs]
        whole.report(result.problems)
    whole.weights[name] = [each for result in results for own in result.weights.values() for each in own]


def load(paths: tuple[Path, ...], device: torch.device) -> list[Model]:
    """Read models onto a device."""
    from coview.model import Model

    return [Model.from_run(path).to(device) for path in paths]


def show(result: Result, out: Output, json: bool, *, figures: bool = True, **more: Any) -> int:
    """Print a result with its verdict and return the exit code: 3 where something could not be read or measured.

    Args:
        figures: whether a result without any is such a thing.
    """
    from coview.evaluation.verdict import headline, verdict
    from coview.evaluation.wording import sentence

    said = verdict(result.results, result.signs)
    for text in [*result.notes, *said, *filter(None, map(sentence, headline(result.results)))]:
        out.say(text)
    if figures and not result.results:
        result.lacks(" and ".join(result.protocols), ["nothing could be measured"])
    rows = [measurement.row() for measurement in result.results]
    plain = {"notes": result.notes, "verdict": said, "weights": result.weights} if json else {}
    return out.finish({**plain, **more, "results": rows}, result.problems)
