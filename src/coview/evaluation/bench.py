"""The bench: a frozen model between its two sources. Features are extracted once; that nothing moved is proved."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from coview.data.leaks import Named, shared
from coview.data.source import Source
from coview.embedding.extract import Features, Space, extract
from coview.embedding.kept import extract_once
from coview.errors import CoviewError, UsageError
from coview.evaluation.stages import Stage, stage_features
from coview.evaluation.statistics import Measurement
from coview.files import write_aside

if TYPE_CHECKING:
    from coview.model import Model

Progress = Callable[[str, int, int], None]


@dataclass
class Result:
    """What was measured.

    Attributes:
        protocols: which ones were run.
        results: the figures.
        choices: how they were made, plain data, enough to repeat them.
        notes: sentences about what was left out and why.
        problems: (what, reason) of recordings that could not be read, and of figures that could not be measured.
        signs: what the runs behind the figures say against themselves.
        weights: name of a model in the figures -> {"digest", "steps"} of each model behind them, one for every seed.
    """

    protocols: list[str]
    results: list[Measurement]
    choices: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    signs: list[str] = field(default_factory=list)
    weights: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def lacks(self, what: str, reasons: Sequence[str]) -> None:
        """Note what of a figure could not be measured."""
        self.report([(what, reason) for reason in reasons])

    def report(self, problems: Sequence[tuple[str, str]]) -> None:
        """Add problems, each once."""
        self.problems += [problem for problem in dict.fromkeys(problems) if problem not in self.problems]

    def add(self, other: Result) -> None:
        """Add what was measured of the same model on the same parts in another way."""
        self.results += other.results
        self.choices |= other.choices
        self.report(other.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {
            "protocols": self.protocols,
            "weights": self.weights,
            "results": [measurement.row() for measurement in self.results],
            "choices": self.choices,
            "notes": self.notes,
            "problems": [list(problem) for problem in self.problems],
        }

    def save(self, path: Path) -> None:
        """Write as JSON, aside and then renamed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(path, json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class Bench:
    """Where protocols measure a frozen model; a context whose end proves that no tensor of the model has changed.

    Args:
        model: stays as it is.
        train: labelled recordings for classifiers; None where nothing is fitted.
        test: recordings that nothing is fitted on.
        name: stands behind the slash in the names of the figures.
        seed: of everything that is drawn.
        windows: evenly spaced cuts per recording.
        batch_size: recordings at a time.
        folder: where features are kept for other calls and after a kill; None keeps them in memory alone.
        progress: called with (what is being done, done, total).

    Attributes:
        result: what the protocols add their figures, choices and notes to.

    Raises (at the end of the context):
        CoviewError: the model changed while it was measured.
    """

    def __init__(
        self,
        model: Model,
        train: Source | None,
        test: Source,
        *,
        name: str,
        seed: int = 0,
        windows: int = 1,
        batch_size: int = 64,
        folder: Path | None = None,
        progress: Progress = lambda what, done, total: None,
    ) -> None:
        self.folder = folder
        self.model, self.train, self.test, self.name, self.seed = model, train, test, name, seed
        self.windows, self.batch_size, self.progress = windows, batch_size, progress
        self.result = Result([], [], {"test": describe(test), "seed": seed, "windows": windows})
        if train is not None:
            self.result.choices["train"] = describe(train)
        self._kept: dict[tuple[Any, ...], Features] = {}

    def __enter__(self) -> Bench:
        self._before = self.model.digest
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        after = self.model.digest
        if self._before != after:
            raise CoviewError("the model's tensors changed while it was measured; the figures are void")
        self.result.weights[self.name] = [weights_of(self.model)]
        self.result.choices["frozen"] = {"sha256_before": self._before, "sha256_after": after}

    def features(
        self,
        part: Literal["train", "test"],
        space: Space = "backbone",
        windows: int | None = None,
        stages: Mapping[str, Sequence[Stage]] | None = None,
    ) -> Features:
        """Return the features of a part, from the second time on without computing them again.

        Args:
            windows: other than the bench's own.
            stages: view -> stages; the features are then named "<view>/<stage>" instead of by the view.
        """
        source = self.train if part == "train" else self.test
        if source is None:
            raise UsageError("there is no training part")
        if part == "train":
            self.result.report(leaks(source, self.test))
        count = self.windows if windows is None else windows
        named = {view: tuple(wanted) for view, wanted in (stages or {}).items()}
        key = (part, space, count, tuple(named.items()))
        if key not in self._kept:
            how: dict[str, Any] = {"windows": count, "space": space, "batch_size": self.batch_size}
            how["progress"] = lambda done, total: self.progress(f"embedding {part}", done, total)
            if named:  # never in files: tens of thousands of numbers for every clip, more than the media have
                self._kept[key] = extract(self.model, source, embed=stage_features(self.model, named), **how)
            elif self.folder is not None:
                self._kept[key] = extract_once(self.folder, self.model, source, **how)
            else:
                self._kept[key] = extract(self.model, source, **how)
            self.result.report(self._kept[key].problems)
        return self._kept[key]

    def classifies(self, what: str) -> bool:
        """Return whether classifiers can be fitted and tested here; leaves a note where they cannot."""
        reason = why_not_classify(self.train, self.test)
        if reason:
            self.result.notes.append(f"{reason}: {what} left out")
        return not reason


def weights_of(model: Model) -> dict[str, Any]:
    """Return what tells a model's weights from others, for a result."""
    return {"digest": model.digest, "steps": getattr(model, "about", {}).get("steps")}


def leaks(train: Named, test: Named) -> list[tuple[str, str]]:
    """Return the problem of a test part that shares recordings with what classifiers are fitted on, if it does."""
    overlap = shared(train, test)
    return [(test.name, overlap.sentence())] if overlap else []


def describe(source: Source) -> dict[str, Any]:
    """Return what identifies a source in a result."""
    return {"name": source.name, "fingerprint": source.fingerprint, "recordings": len(source)}


def why_not_classify(train: Source | None, test: Source) -> str | None:
    """Return why classifiers cannot be fitted and tested on these sources, or None.

    Raises:
        UsageError: the parts are the same recordings, or their classes differ.
    """
    if train is None:
        return "there is no training part"
    for source in (train, test):
        if not source.classes or not bool((source.labels >= 0).any()):
            return f"{source.name} has no labels"
    if list(train.classes) != list(test.classes):
        raise UsageError(f"{train.name} and {test.name} have different classes; they cannot be compared")
    if train.fingerprint == test.fingerprint:
        raise UsageError(f"{train.name}: training and test part are the same recordings; choose two splits")
    return None
