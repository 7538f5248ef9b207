"""A manifest: a CSV, JSON-lines or Parquet table with one recording per row."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coview.data.adapters import Item, Made, Refused
from coview.data.identity import as_text, real_path
from coview.data.recording import SPLITS
from coview.data.words import changed_words, word_of
from coview.errors import UsageError

EXTENSIONS = (".csv", ".jsonl", ".parquet")
COLUMNS = ("path", "id", "label", "split", "caption", "group", "flags", "folds", "start", "end")
TRACK = "track:"  # begins the name of a column that names another file of the recording
_WORDS = ("id", "label", "split", "group", "caption")
_MOST = 20  # problems listed in one message


def make_manifest(manifest: Path) -> Made:
    """Return an item per row; relative paths start from the manifest's own folder.

    Column `path` is required, `id`, `label`, `split`, `caption`, `group`, `flags`, `start` and `end` (s) are optional,
    empty cells and NaN mean "not given". Words are taken as `words.word_of` says, and `notes` say what was
    changed. Flags are a list, or words between spaces; "nomirror" keeps augmentation from exchanging left and
    right. `folds` likewise gives the split in each official fold ("train - test": fold 2 leaves the recording out).
    `track:depth` names another file of the recording, its track "depth". Other columns are kept out; the report's
    `unused_columns` lists them. Paths that are no UTF-8 may be written as `kept_name` writes them. A row whose path can
    be no file's name goes into quarantine.

    Raises:
        UsageError: the file cannot be parsed, has no path column or no row, or rows have wrong values; lists them.
    """
    rows = read_rows(manifest)
    if not rows:
        raise UsageError(f"{manifest}: no rows")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if "path" not in columns:
        raise UsageError(f"{manifest}: no column 'path'; found {', '.join(columns)}")
    problems: list[str] = []
    refused: list[Refused] = []
    items = []
    for number, row in enumerate(rows, start=1):
        before = len(problems)
        item = _item(row, f"row {number}", problems)
        if len(problems) == before and (bad := _no_name(item)):
            refused.append(Refused(path=as_text(str(item.path)), reason="bad-name", message=f"row {number}: {bad}"))
        else:
            items.append(item)
    if problems:
        more = f"\n  and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
        raise UsageError(f"{manifest}:\n" + "\n".join(f"  - {problem}" for problem in problems[:_MOST]) + more)
    unused = [name for name in columns if name not in COLUMNS and not name.startswith(TRACK)]
    notes = [note for name in _WORDS[:-1] for note in changed_words(name, (row.get(name) for row in rows))]
    report = {"unused_columns": unused} if unused else {}
    return Made(items=items, root=manifest.parent, refused=refused, report=report, notes=notes)


def read_rows(manifest: Path) -> list[dict[str, Any]]:
    """Return the rows of a table, column -> cell.

    Raises:
        UsageError: the file cannot be parsed.
    """
    kind = manifest.suffix.lower()
    try:
        if kind == ".parquet":
            return _read_parquet(manifest)
        with manifest.open(encoding="utf-8-sig", newline="") as stream:
            if kind == ".csv":
                return [_named(row) for row in csv.DictReader(stream, restkey="cells beyond the last column")]
            lines = [json.loads(line) for line in stream if line.strip()]
    except (ValueError, csv.Error, pa.ArrowException, RecursionError) as error:
        raise UsageError(f"{manifest}: cannot be read as {kind[1:]}: {' '.join(str(error).split())}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise UsageError(f"{manifest}: every line must be a JSON object with at least a path")
    return lines


def _named(row: dict[str | None, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name is not None}


def _read_parquet(manifest: Path) -> list[dict[str, Any]]:
    with manifest.open("rb") as stream, pq.ParquetFile(stream) as file:
        rows, size = file.metadata.num_rows, manifest.stat().st_size
        if rows > size:  # every row has a path of its own
            raise ValueError(f"{rows} rows cannot be in its {size} bytes")
        found: list[dict[str, Any]] = file.read().to_pylist()
        return found


def _item(row: Mapping[str, Any], where: str, problems: list[str]) -> Item:
    given = {name: value for name, value in row.items() if not _empty(value)}
    if not isinstance(given.get("path"), str):
        problems.append(f"{where}: no path" if "path" not in given else f"{where}: path {given['path']!r} is no text")
    words: dict[str, Any] = {}
    for name in _WORDS:
        try:
            words[name] = word_of(given.get(name))
        except ValueError as error:
            problems.append(f"{where}: {name} {error}")
    if words.get("split") not in (None, *SPLITS):
        problems.append(f"{where}: split {words['split']!r} is none of {', '.join(SPLITS)}")
    span: dict[str, float] = {}
    for name in ("start", "end"):
        if name in given:
            try:
                span[name] = float(given[name])
            except (TypeError, ValueError, OverflowError):
                problems.append(f"{where}: {name} {given[name]!r} is not a number of seconds")
    if not 0 <= span.get("start", 0.0) < span.get("end", math.inf):
        problems.append(
            f"{where}: the span from {span.get('start', 0.0)} s to {span.get('end')} s is empty or negative"
        )
    lists: dict[str, tuple[str, ...]] = {}
    for name in ("flags", "folds"):
        value = given.get(name, ())
        listed = value.split() if isinstance(value, str) else value
        if not isinstance(listed, (list, tuple)) or not all(isinstance(word, str) or word is None for word in listed):
            problems.append(f"{where}: {name} {str(value)[:40]!r} is no list of words")
            listed = ()
        lists[name] = tuple(map(str, listed))
    lists["folds"] = tuple("" if fold in ("-", "None") else fold for fold in lists["folds"])
    if not set(lists["folds"]) <= {"", *SPLITS}:
        problems.append(f"{where}: folds {' '.join(lists['folds'])!r} are not all one of {', '.join(SPLITS)} or -")
    tracks = {name.removeprefix(TRACK): str(value) for name, value in given.items() if name.startswith(TRACK)}
    return Item(
        path=real_path(str(given.get("path", ""))),
        start=span.get("start"),
        end=span.get("end"),
        tracks={name: real_path(value) for name, value in tracks.items()},
        flags=lists["flags"],
        folds=lists["folds"],
        **words,
    )


def _empty(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def _no_name(item: Item) -> str | None:
    """Return why a path of an item can be no file's name, None where all can."""
    for path in (item.path, *item.tracks.values()):
        try:
            if b"\0" in os.fsencode(path):
                return "no name of a file holds a NUL"
        except UnicodeEncodeError:
            return "this is no text that could be a file's name"
    return None
