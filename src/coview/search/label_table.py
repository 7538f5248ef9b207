"""A collection's labels as a table that `coview index` and `coview evaluate --labels` read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coview.data.collection import Collection
from coview.data.identity import kept_name, real_path
from coview.errors import UsageError
from coview.files import written_whole
from coview.search.labels import Said

GIVEN = "given"  # how: the collection's own label
FORMS = (".csv", ".parquet")


def check_form(path: Path) -> None:
    """Raise UsageError where the name of a table says no form that it can be written in, or is a folder's."""
    if path.suffix.lower() not in FORMS or path.is_dir():
        raise UsageError(f"{path}: expected the name of a file, {' or '.join(FORMS)}, such as my-labels.csv")


def rows_of(collection: Collection, current: Mapping[str, Said], proposed: Mapping[str, Said]) -> list[dict[str, Any]]:
    """Return a row for every recording: where it lies and its part, which label counts, how it came and how surely.

    What a person said counts before the collection's own label, and that before a proposal, which `proposed` keeps.
    A name that is no UTF-8 is written as `kept_name` writes it.
    """
    rows = []
    for recording in collection:
        said, own = current.get(recording.id), recording.label
        label: str | None
        how: str | None
        sure: float | None
        if own is not None and (said is None or said == proposed.get(recording.id)):
            label, how, sure = own, GIVEN, None
        else:
            label, how, sure = (said.label, said.how, said.confidence) if said else (None, None, None)
        row: dict[str, Any] = {
            "path": kept_name(collection.path(recording).absolute()), "id": recording.id, "label": label,
            "split": recording.split, "caption": recording.caption, "group": recording.group,
            "flags": "nomirror" if "nomirror" in recording.flags else None,
            "folds": " ".join(fold or "-" for fold in recording.folds) or None,
        }  # fmt: skip
        last = max(recording.video_end, recording.audio_end)
        part = recording.start > 0 or recording.end < last - 1e-3  # a piece of a longer file
        row |= {"start": recording.start if part else None, "end": recording.end if part else None}
        row |= {
            f"track:{name}": kept_name((collection.root / real_path(path)).absolute())
            for name, path in recording.tracks.items()
        }
        hint = proposed.get(recording.id)
        rows.append({**row, "how": how, "confidence": sure, "proposed": hint.label if hint else None})
    return rows


def write_labels(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows as .csv or .parquet, whole or not at all; columns that no row fills are left out.

    Raises:
        OSError: the file cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    filled = [name for name in names if name in ("id", "label") or any(row.get(name) is not None for row in rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as aside:
        if path.suffix.lower() == ".parquet":
            columns = {name: pa.array([row.get(name) for row in rows]) for name in filled}
            pq.write_table(pa.table(columns), aside)
            return
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, filled, restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
        Path(aside).write_text(text.getvalue(), encoding="utf-8", newline="")
