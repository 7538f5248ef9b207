"""Files beside a recording that are no media: tables of numbers in time, and maps of depth.

Such a file is a track of its recording (`Recording.tracks`: name -> path). Whatever is wrong with one becomes a
`MediaError`, so that it is counted and replaced as a film that cannot be read.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from coview.errors import MediaError
from coview.files import read_text, write_aside

TIME = "time"  # the column that says when a row begins
_MOST_BYTES = 1 << 28  # of a table or a map; what is larger is no sidecar but a data set
_FARTHEST = 1e6  # metres; no camera measures more, and squares of it can still be averaged
_MILLIMETRE = 0.001  # metres: a step of a 16-bit picture of depth


class Series(NamedTuple):
    """Rows of numbers, float32 (rows, columns), and when each begins, float64 (rows,) in seconds; None: evenly."""

    values: NDArray[np.float32]
    times: NDArray[np.float64] | None


def read_series(path: Path) -> Series:
    """Read a table of numbers in time: .npy (rows, columns), or .csv and .parquet with a name for every column.

    A column called "time" says when a row begins, in seconds of the recording's clock; it has to rise.

    Raises:
        MediaError: "gone", "too-large", or "damaged": not of this form, or a number is not finite.
    """
    series = _read(path, _series)
    assert isinstance(series, Series)
    return series


def write_series(path: Path, values: NDArray[np.float32], times: NDArray[np.float64]) -> None:
    """Write rows of numbers (rows, columns) and when each begins, in seconds, as a table that `read_series` reads."""
    names = ",".join([TIME, *map(str, range(values.shape[1]))])
    rows = np.column_stack([times, values.astype(np.float64)]).tolist()
    lines = [",".join([f"{time:.12g}", *(f"{value:.9g}" for value in row)]) for time, *row in rows]
    write_aside(path, "\n".join([names, *lines]) + "\n")


def read_depth(path: Path) -> NDArray[np.float32]:
    """Read a map of depth in metres, float32 (H, W): .npy as it is, or a 16-bit PNG in millimetres.

    0 is unknown, and so is what is below 0 in the file.

    Raises:
        MediaError: as `read_series`.
    """
    depth = _read(path, _depth)
    assert isinstance(depth, np.ndarray)
    return depth


def _read(path: Path, parse: Callable[[Path], Any]) -> Any:
    try:
        about = path.stat()
    except (OSError, ValueError) as error:
        raise MediaError(str(path), "gone", "there is no such file; bring it back, or index again") from error
    if not path.is_file() or about.st_size > _MOST_BYTES:
        raise MediaError(str(path), "too-large", f"expected a file of at most {_MOST_BYTES >> 20} MiB")
    try:
        return _cached(parse, path, about.st_size, about.st_mtime_ns)
    except Exception as error:  # whatever a parser makes of a damaged file
        said = f"{type(error).__name__}: {error}"
        raise MediaError(str(path), "damaged", f"it cannot be read as numbers ({said})") from error


@functools.lru_cache(maxsize=16)  # several clips of a recording are read one after the other
def _cached(parse: Callable[[Path], Any], path: Path, size: int, modified: int) -> Any:
    return parse(path)


def _series(path: Path) -> Series:
    if path.suffix.lower() == ".npy":
        return Series(_single(_finite(_array(path))), None)
    names, table = _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    table = _finite(table)
    if TIME not in names:
        return Series(_single(table), None)
    times = table[:, names.index(TIME)]
    if (np.diff(times) <= 0).any():
        raise ValueError(f"its column {TIME!r} does not rise")
    return Series(_single(np.delete(table, names.index(TIME), axis=1)), times)


def _depth(path: Path) -> NDArray[np.float32]:
    if path.suffix == ".npy":
        depth = _finite(_array(path))
        if (depth > _FARTHEST).any():
            raise ValueError(f"it holds {depth.max():g} metres; expected metres, and 0 where depth is unknown")
        metres: NDArray[np.float32] = np.maximum(depth, 0).astype(np.float32)
        return metres
    with Image.open(path, formats=("PNG",)) as image:
        if not image.mode.startswith("I") or image.width * image.height * 4 > _MOST_BYTES:
            raise ValueError(f"a picture of depth has 16 bits of grey, found mode {image.mode}, size {image.size}")
        return np.asarray(image).astype(np.float32) * np.float32(_MILLIMETRE)


def _array(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim != 2 or not len(array) or array.dtype.kind not in "fiub":
        raise ValueError(f"expected numbers in rows and columns, found {array.dtype} {array.shape}")
    return np.array(array)


def _csv(path: Path) -> tuple[list[str], NDArray[Any]]:
    text = read_text(path, "a table of numbers", limit=_MOST_BYTES).removeprefix("\ufeff")
    names, *rows = filter(None, csv.reader(text.splitlines()))
    return [name.strip() for name in names], np.array(rows, dtype=np.float64)


def _parquet(path: Path) -> tuple[list[str], NDArray[Any]]:
    with pq.ParquetFile(path) as file:
        about = file.metadata
        if about.num_rows * about.num_columns * 8 > _MOST_BYTES:
            raise ValueError(f"{about.num_rows} rows of {about.num_columns} columns are too many")
        table = file.read()
    return table.column_names, np.stack([c.to_numpy().astype(np.float64) for c in table.columns], axis=1)


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    wrong = ~np.isfinite(values).all(axis=1)
    if wrong.any() or not values.size:
        raise ValueError(f"row {int(wrong.argmax())} holds NaN or infinity" if wrong.any() else "it is empty")
    return values


def _single(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return numbers as float32, where those of 1e39 and more are infinite."""
    with np.errstate(over="ignore"):
        single: NDArray[np.float32] = _finite(values.astype(np.float32))
    return single
