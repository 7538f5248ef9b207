"""A manifest: a CSV, JSON-lines or Parquet table with one recording per row."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coview.data.adapters import Item, Made
from coview.data.recording import SPLITS
from coview.errors import UsageError

EXTENSIONS = (".csv", ".jsonl", ".parquet")
COLUMNS = ("path", "id", "label", "split", "caption", "group", "flags", "folds", "start", "end")
_MOST = 20  # problems listed in one message


def make_manifest(manifest: Path) -> Made:
    """Return an item per row; relative paths start from the manifest's own folder.

    Column `path` is required, `id`, `label`, `split`, `caption`, `group`, `flags`, `start` and `end` (s) are optional,
    empty cells mean "not given". Flags are a list, or words between spaces; "nomirror" keeps augmentation from
    exchanging left and right. `folds` likewise gives the split in each official fold ("train - test": fold 2 leaves
    the recording out). Other columns are kept out; the report's `unused_columns` lists them.

    Raises:
        UsageError: the file cannot be parsed, has no path column or no row, or rows have wrong values; lists them.
    """
    rows = _read(manifest)
    if not rows:
        raise UsageError(f"{manifest}: no rows")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if "path" not in columns:
        raise UsageError(f"{manifest}: no column 'path'; found {', '.join(columns)}")
    problems: list[str] = []
    items = [_item(row, f"row {number}", problems) for number, row in enumerate(rows, start=1)]
    if problems:
        more = f"\n  and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
        raise UsageError(f"{manifest}:\n" + "\n".join(f"  - {problem}" for problem in problems[:_MOST]) + more)
    unused = [name for name in columns if name not in COLUMNS]
    return Made(items=items, root=manifest.parent, report={"unused_columns": unused} if unused else {})


def _read(manifest: Path) -> list[dict[str, Any]]:
    kind = manifest.suffix.lower()
    try:
        if kind == ".parquet":
            rows: list[dict[str, Any]] = pq.read_table(manifest).to_pylist()
            return rows
        with manifest.open(encoding="utf-8-sig", newline="") as stream:
            if kind == ".csv":
                return list(csv.DictReader(stream, restkey="cells beyond the last column"))
            lines = [json.loads(line) for line in stream if line.strip()]
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError, pa.ArrowInvalid) as error:
        raise UsageError(f"{manifest}: cannot be read as {kind[1:]}: {error}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise UsageError(f"{manifest}: every line must be a JSON object with at least a path")
    return lines


def _item(row: Mapping[str, Any], where: str, problems: list[str]) -> Item:
    given = {name: row[name] for name in COLUMNS if row.get(name) not in (None, "")}
    before = len(problems)
    if "path" not in given:
        problems.append(f"{where}: no path")
    if given.get("split", "train") not in SPLITS:
        problems.append(f"{where}: split {given['split']!r} is none of {', '.join(SPLITS)}")
    span: dict[str, float] = {}
    for name in ("start", "end"):
        if name in given:
            try:
                span[name] = float(given[name])
            except (TypeError, ValueError):
                problems.append(f"{where}: {name} {given[name]!r} is not a number of seconds")
    if not 0 <= span.get("start", 0.0) < span.get("end", float("inf")):
        problems.append(
            f"{where}: the span from {span.get('start', 0.0)} s to {span.get('end')} s is empty or negative"
        )
    lists: dict[str, Any] = {name: _words(given.pop(name, ())) for name in ("flags", "folds")}
    lists["folds"] = tuple("" if fold in ("-", "None") else fold for fold in lists["folds"])
    if not set(lists["folds"]) <= {"", *SPLITS}:
        problems.append(f"{where}: folds {' '.join(lists['folds'])!r} are not all one of {', '.join(SPLITS)} or -")
    if len(problems) > before:
        return Item(path=Path())
    words: dict[str, Any] = {name: str(given[name]) for name in given if name not in ("path", "start", "end")}
    return Item(path=Path(str(given["path"])), start=span.get("start"), end=span.get("end"), **words, **lists)


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value.split() if isinstance(value, str) else value))
