"""Figures that were stored with a run: read whatever stands in the files, and matched with the weights they are of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coview.errors import UsageError
from coview.evaluation.statistics import Measurement
from coview.files import read_json


@dataclass(frozen=True)
class Stored:
    """One file of evaluations.

    Attributes:
        results, notes: as measured.
        digests: of the weights that the run's own figures are of; empty in files from before they were recorded.
        step: how long these weights had been trained, where that is known.
    """

    file: Path
    results: list[Measurement]
    notes: list[str]
    digests: list[str]
    step: int | None

    def is_of(self, digest: str | None) -> bool:
        """Tell whether the figures are of these weights, as far as can be known."""
        return digest is None or not self.digests or digest in self.digests


def read_stored(folder: Path) -> list[Stored]:
    """Return all files of evaluations in a folder.

    Raises:
        UsageError: a file is damaged; names it.
    """
    return [_read(file) for file in sorted(folder.glob("*.json"))] if folder.is_dir() else []


def measurements(rows: Any, file: Path) -> list[Measurement]:
    """Return measurements from the rows that a file holds.

    Raises:
        UsageError: a row is none.
    """
    if not isinstance(rows, list):
        raise UsageError(f"{file}: its results are no list; measure again to replace it")
    return [_measurement(row, file) for row in rows]


def _measurement(row: Any, file: Path) -> Measurement:
    numbers = ("value", "low", "high", "chance")
    good = (
        isinstance(row, dict)
        and set(row) >= {"name", "n", *numbers}
        and isinstance(row["name"], str)
        and all(isinstance(row[key], int) and not isinstance(row[key], bool) for key in ("n",))
        and all(row[key] is None or (isinstance(row[key], (int, float)) and math.isfinite(row[key])) for key in numbers)
        and row["value"] is not None
        and (row["low"] is None) == (row["high"] is None)
        and isinstance(row.get("seeds", 1), int)
    )
    if not good:
        raise UsageError(f"{file}: {str(row)[:80]} is no measurement; measure again to replace it")
    return Measurement(**{name: row[name] for name in ("name", "n", *numbers)}, seeds=row.get("seeds", 1))


def _recorded_before(choices: Any) -> list[dict[str, Any]]:
    """Return the digests that older files hold among the choices: of every seed of the first model, the run's own."""
    for each in choices.values() if isinstance(choices, dict) else ():
        seeds = each if isinstance(each, list) else [{"frozen": each}]
        frozen = [seed.get("frozen") for seed in seeds if isinstance(seed, dict)]
        found = [{"digest": one["sha256_after"]} for one in frozen if isinstance(one, dict) and "sha256_after" in one]
        if found:
            return found
    return []


def _read(file: Path) -> Stored:
    found = read_json(file, "the figures of an evaluation", remedy="measure again to replace it, or remove it")
    notes, weights = found.get("notes", []), found.get("weights", {})
    if not isinstance(notes, list) or not isinstance(weights, dict):
        raise UsageError(f"{file}: its notes or weights are not as coview writes them; measure again to replace it")
    # Of the run in whose folder the file lies; its controls come behind.
    own: Any = next(iter(weights.values()), _recorded_before(found.get("choices")))
    known = [each for each in own if isinstance(each, dict)] if isinstance(own, list) else []
    return Stored(
        file=file,
        results=measurements(found.get("results"), file),
        notes=[str(note) for note in notes],
        digests=[str(each["digest"]) for each in known if each.get("digest")],
        step=next((each["steps"] for each in known if isinstance(each.get("steps"), int)), None),
    )
