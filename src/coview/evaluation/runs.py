"""What a run folder says of the model in it: its settings, its log, and which recordings it has learnt from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coview.data.collection import Collection
from coview.data.leaks import Overlap, named_by_captions, shared
from coview.data.open import open_source
from coview.data.source import Source
from coview.data.views import ViewSpec
from coview.errors import CoviewError, UsageError
from coview.evaluation.verdict import signs
from coview.files import read_json, read_text, read_yaml

if TYPE_CHECKING:
    from coview.evaluation.bench import Result


@dataclass(frozen=True)
class Records:
    """What lies in a run folder beside the model; empty where there is nothing.

    Attributes:
        folder: of the run; None for a model that stands alone.
        settings, summary, environment: as stored.
        metrics, timings: the log, a dict for each step.
    """

    folder: Path | None
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    timings: list[dict[str, Any]]

    @property
    def shuffled(self) -> bool:
        """Whether the run learnt from wrong pairs, as a control."""
        return bool(self.settings.get("shuffled"))

    def signs(self) -> list[str]:
        """Return what the run's own records say against it."""
        return signs(self.settings, self.summary, self.metrics)


def records_of(path: Path) -> Records:
    """Return the records of a run, given its folder or that of the model in it.

    Raises:
        UsageError: a file is damaged; names it.
    """
    folder = next((each for each in (path, path.parent) if (each / "settings.yaml").is_file()), None)
    if folder is None:
        return Records(None, {}, {}, {}, [], [])
    return Records(
        folder=folder,
        settings=read_yaml(folder / "settings.yaml", "the settings of a run"),
        summary=_json(folder / "summary.json"),
        environment=_json(folder / "environment.json"),
        metrics=_lines(folder / "metrics.jsonl"),
        timings=_lines(folder / "timings.jsonl"),
    )


def seen_in_training(records: Records, source: Source, views: Mapping[str, ViewSpec]) -> Overlap | None:
    """Return what a source shares with the recordings that a run has learnt from; None where those are not there."""
    settings = records.settings
    try:
        trained = open_source(str(settings["collection"]), views, split=settings.get("split"), seed=settings["seed"])
    except (CoviewError, KeyError, OSError):
        return None
    return shared(trained, source)


def judge(
    result: Result, records: Records, test: Source, views: Mapping[str, ViewSpec], who: str = "the model"
) -> None:
    """State in a result what a run's records say against it, and whether it has learnt from what it is measured on."""
    result.signs += [sign for sign in records.signs() if sign not in result.signs]
    overlap = seen_in_training(records, test, views)
    if overlap:
        result.lacks(test.name, [f"{who} has learnt from what it is measured on: {overlap.sentence()}"])
    elif overlap is not None and overlap.checked and overlap.sentence() not in result.notes:
        result.notes.append(f"unseen in training: {overlap.sentence()}")


def captions_that_name_files(collection: str) -> list[tuple[str, str]]:
    """Return the problem of captions that are the names of their own files, if a collection has such."""
    if not (Path(collection) / "collection.json").is_file():
        return []
    rows = Collection.open(collection).columns(["path", "caption"]).to_pylist()
    named = named_by_captions((row["path"], row["caption"]) for row in rows)
    if not named:
        return []
    such = ", ".join(named[:3])
    return [(collection, f"{len(named)} captions name their own file, which gives it away to a reader of text: {such}")]


def _json(file: Path) -> dict[str, Any]:
    return read_json(file, "the record of a run") if file.is_file() else {}


def _lines(file: Path) -> list[dict[str, Any]]:
    """Return the entries of a file of JSON lines; a line without an end is one that a kill has cut."""
    if not file.is_file():
        return []
    lines = read_text(file, "the log of a run", limit=1 << 31).splitlines(keepends=True)
    try:
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        if not all(isinstance(entry, dict) and isinstance(entry.get("step"), int) for entry in found):
            raise ValueError("a line is no entry with a step")
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{file}: cannot be read as the log of a run: {error}; remove it: the rest is shown"
        ) from error
    return found
