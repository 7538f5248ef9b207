"""Labels over time: numbers such as valence, for moments of recordings, from a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from coview.errors import UsageError

_KEYS = ("id", "time", "recording")
_MOST_BYTES = 1 << 32
_FORM = (
    "expected .csv or .parquet with a column id, a column of numbers for every target, and where they are meant time "
    "(seconds) and recording (what a row belongs to, if that is not its id)"
)


@dataclass(frozen=True)
class TimeLabels:
    """A table of labels.

    Attributes:
        targets: names of the K columns of numbers.
        times: id -> seconds (T,), rising; (1,) zero where the table has no times.
        values: id -> float64 (T, K).
        recording: id -> the recording that its moments belong to.
        timed: the table says when a label holds.
    """

    targets: list[str]
    times: dict[str, NDArray[np.float64]]
    values: dict[str, NDArray[np.float64]]
    recording: dict[str, str]
    timed: bool

    def at(self, recording: str, moments: Sequence[float]) -> NDArray[np.float64]:
        """Return the labels (M, K) of an id at moments in seconds, between two rows on the line that joins them.

        NaN where the id is not in the table, and before its first and after its last row.
        """
        if recording not in self.times:
            return np.full((len(moments), len(self.targets)), np.nan)
        times, values = self.times[recording], self.values[recording]
        if not self.timed:
            return np.repeat(values, len(moments), axis=0)
        columns = [np.interp(moments, times, column, left=np.nan, right=np.nan) for column in values.T]
        return np.stack(columns, axis=1)


def read_time_labels(path: Path) -> TimeLabels:
    """Read a table: id, numbers, and if there are any time and recording.

    Raises:
        UsageError: it is not of this form, a number is missing or not finite, or an id has two labels for one moment.
    """
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it is no file of at most {_MOST_BYTES >> 30} GiB")
        table = _table(path)
        targets = [name for name in table.column_names if name not in _KEYS]
        _check(table, targets)
        ids = [str(each) for each in table.column("id").to_pylist()]
        timed = "time" in table.column_names
        numbers = [_numbers(table, name) for name in [*(["time"] if timed else []), *targets]]
        belongs = [str(each) for each in table.column("recording").to_pylist()] if _has_groups(table) else ids
    except (OSError, pa.ArrowException, ValueError) as error:
        why = " ".join(str(error).split())[:300]
        raise UsageError(f"{path}: cannot be read as labels over time: {why}; {_FORM}") from error
    time = numbers[0] if timed else np.zeros(len(ids))
    values = np.stack(numbers[1:] if timed else numbers, axis=1)
    rows: dict[str, list[int]] = {}
    for row, each in enumerate(ids):
        rows.setdefault(each, []).append(row)
    for each, own in rows.items():
        own.sort(key=lambda row: float(time[row]))
        if (np.diff(time[own]) <= 0).any():
            raise UsageError(f"{path}: {each!r} has two rows for one moment; keep one of them")
        if len({belongs[row] for row in own}) > 1:
            raise UsageError(f"{path}: {each!r} belongs to two recordings; give it one")
    return TimeLabels(
        targets=targets,
        times={each: time[own] for each, own in rows.items()},
        values={each: values[own] for each, own in rows.items()},
        recording={each: belongs[own[0]] for each, own in rows.items()},
        timed=timed,
    )


def _table(path: Path) -> pa.Table:
    with path.open("rb") as stream:
        if path.suffix.lower() == ".parquet":
            return pq.read_table(stream)
        kinds = {"id": pa.string(), "recording": pa.string()}
        return pa_csv.read_csv(stream, convert_options=pa_csv.ConvertOptions(column_types=kinds))


def _has_groups(table: pa.Table) -> bool:
    return bool("recording" in table.column_names)


def _check(table: pa.Table, targets: Sequence[str]) -> None:
    if "id" not in table.column_names or not targets or not table.num_rows:
        raise ValueError(f"it has {table.num_rows} rows of {', '.join(table.column_names) or 'nothing'}")
    if len(set(table.column_names)) < table.num_columns:
        raise ValueError("two of its columns have one name")
    for name in targets:
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"column {name!r}: the name of a target is letters, digits and _ . -")
    for name in _KEYS:
        if name in table.column_names and table.column(name).null_count:
            raise ValueError(f"column {name!r} has empty places")


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    kind = table.column(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ValueError(f"column {name!r} holds {kind}, no numbers")
    values: NDArray[np.float64] = table.column(name).to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"column {name!r}, row {int((~np.isfinite(values)).argmax())}: missing or not finite")
    return values
