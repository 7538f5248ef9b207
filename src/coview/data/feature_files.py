"""Feature files: vectors that were computed before, one or a sequence per recording, in the formats people keep.

    folder of `coview embed`   one table per view; the mean over a recording's windows
    .parquet                   a column `id`, every column of number lists is a table, and one of lists of such lists a
                               table of sequences; `label` and `split` if present
    .safetensors               every matrix is a table, (N, steps, D) one of sequences, with `NAME.lengths` (N,) if
                               present; `label` (int64) if present
    .npy                       one matrix, or (N, steps, D) with STEM.lengths.npy (N,) beside it if present

Matrices without ids are told apart by row number, so that such files belong together only where their rows do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from torch import Tensor

from coview.data.stored import is_stored, open_stored
from coview.errors import InputError, UsageError
from coview.files import read_tensors

SUFFIXES = (".parquet", ".safetensors", ".npy")
_MOST_BYTES = 1 << 34  # of the columns of a table, unpacked


@dataclass(frozen=True)
class FeatureTable:
    """Features of one view.

    Attributes:
        name: what its file calls it.
        ids: a recording's id per row, each once.
        values: float32 (N, D), finite; of sequences (steps of all rows, D), one row's after the other's.
        ends: of sequences, int64 (N,): where each row's steps end in `values`; None for vectors.
        labels, splits: per row, None where there is none; empty where the file has no such column.
    """

    name: str
    ids: list[str]
    values: Tensor
    labels: list[str | None] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    ends: Tensor | None = None

    @property
    def longest(self) -> int:
        """Most steps of a row; 0 for vectors."""
        return 0 if self.ends is None else int(self.lengths.max())

    @property
    def lengths(self) -> Tensor:
        """Steps of every row, int64 (N,)."""
        ends = torch.arange(1, len(self.values) + 1) if self.ends is None else self.ends
        return torch.diff(ends, prepend=ends.new_zeros(1))

    def check(self, path: Path) -> None:
        """Raise InputError where a number is not finite, an id occurs twice or a row has no steps; name the row."""
        wrong = (~torch.isfinite(self.values).all(1)).nonzero().flatten()
        if len(wrong):
            rows = wrong if self.ends is None else torch.searchsorted(self.ends, wrong, right=True)
            count, first = len(set(rows.tolist())), self.ids[int(rows[0])]
            raise InputError(
                f"{path}: {count} rows of {self.name!r} hold NaN or infinity, first {first!r}; leave them out"
            )
        if len(set(self.ids)) < len(self.ids):
            raise InputError(f"{path}: {len(self.ids) - len(set(self.ids))} ids of {self.name!r} occur twice")
        empty = (self.lengths == 0).nonzero().flatten().tolist()
        if empty or not self.values.shape[1]:
            which = f", such as {self.ids[empty[0]]!r}" if empty else ""
            raise InputError(f"{path}: {self.name!r} has rows without numbers{which}; leave such recordings out")


def is_feature_file(path: Path) -> bool:
    """Tell whether the path is of a kind that `read_features` reads."""
    return (path.suffix in SUFFIXES and path.is_file()) or is_stored(path)


def read_features(path: Path) -> list[FeatureTable]:
    """Read the tables of a file or folder.

    Raises:
        UsageError: it is of no known kind, cannot be read, or holds no features.
        InputError: a number in it is not finite, or an id occurs twice.
    """
    try:
        tables = _read(path)
    except (OSError, ValueError, EOFError, SafetensorError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as features ({error})") from error
    if not tables:
        raise UsageError(
            f"{path}: found no features; expected number lists in a Parquet file, matrices in a .safetensors or .npy "
            "file, or a folder that `coview embed` has completed"
        )
    for table in tables:
        table.check(path)
    return tables


def _read(path: Path) -> list[FeatureTable]:
    if path.is_dir() and is_stored(path):
        return _read_store(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)
        label = tensors.pop("label", None)
        labels: list[str | None] = [] if label is None else [str(int(value)) for value in label]
        return [
            _by_row(name, value, tensors.get(f"{name}.lengths"), labels)
            for name, value in tensors.items()
            if value.ndim in (2, 3)
        ]
    if path.suffix == ".npy":
        array = _load(path)
        beside = path.with_suffix(".lengths.npy")
        lengths = torch.from_numpy(_load(beside).astype(np.int64)) if array.ndim == 3 and beside.is_file() else None
        return [_by_row(path.stem, torch.from_numpy(np.array(array)), lengths)] if array.ndim in (2, 3) else []
    raise UsageError(f"{path}: expected {', '.join(SUFFIXES)} or a folder that `coview embed` has made")


def _load(path: Path) -> Any:
    """Map a .npy of numbers: a header that announces more than the file holds is refused, and takes no memory."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{path}: expected numbers, found {array.dtype}")
    return array


def _by_row(
    name: str, values: Tensor, lengths: Tensor | None = None, labels: Sequence[str | None] = ()
) -> FeatureTable:
    count = len(values)
    if labels and len(labels) != count:
        raise InputError(f"{len(labels)} labels for the {count} rows of {name!r}; expected one each")
    ids = [f"{row:09d}" for row in range(count)]
    if values.ndim == 2:
        return FeatureTable(name, ids, values.float(), list(labels))
    steps = values.shape[1]
    lengths = torch.full((count,), steps) if lengths is None else lengths
    if lengths.shape != (count,) or not count or int(lengths.min()) < 0 or int(lengths.max()) > steps:
        raise InputError(f"the lengths of {name!r} do not fit {count} sequences of {steps} steps; expected one each")
    valid = torch.arange(steps) < lengths[:, None]
    return FeatureTable(name, ids, values[valid].float(), list(labels), ends=lengths.cumsum(0))


def _read_parquet(path: Path) -> list[FeatureTable]:
    with pq.ParquetFile(path) as file:
        about, size = file.metadata, path.stat().st_size
        unpacked = sum(about.row_group(k).total_byte_size for k in range(about.num_row_groups))
        if about.num_rows > size or unpacked > _MOST_BYTES:  # every row has an id of its own
            raise UsageError(f"{path}: its {size} bytes announce {about.num_rows} rows and {unpacked} bytes of columns")
        names = file.schema_arrow.names
        if "id" not in names:
            raise UsageError(f"{path}: expected a column `id` with the recordings' ids, found {names}")
        lists = [field.name for field in file.schema_arrow if _is_list(field.type)]
        table = file.read(columns=[*lists, *(name for name in ("id", "label", "split") if name in names)])
    ids = [str(value) for value in table.column("id").to_pylist()]
    known: dict[str, list[str | None]] = {}
    for name in ("label", "split"):
        values = table.column(name).to_pylist() if name in names else []
        known[name] = [None if value is None else str(value) for value in values]
    tables = []
    for name in lists:
        values, ends = _numbers(table.column(name).combine_chunks(), name)
        tables.append(FeatureTable(name, ids, values, known["label"], known["split"], ends))
    return tables


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _numbers(column: Any, name: str) -> tuple[Tensor, Tensor | None]:
    """Return the vectors of a column (M, D) and, where its rows are lists of vectors, where each row ends."""
    if column.null_count:
        raise InputError(f"column {name!r} is empty in {column.null_count} rows; leave such recordings out")
    lengths, ends = np.asarray(pc.list_value_length(column)), None
    if _is_list(column.type.value_type):
        ends, column = torch.from_numpy(lengths.astype(np.int64)).cumsum(0), pc.list_flatten(column)
        lengths = np.asarray(pc.list_value_length(column))
    found = sorted(set(lengths.tolist()))
    if len(found) != 1:
        raise InputError(f"column {name!r} holds vectors of {found} numbers; expected one length")
    flat = pc.cast(pc.list_flatten(column), pa.float32()).to_numpy(zero_copy_only=False)
    return torch.from_numpy(np.array(flat, dtype=np.float32).reshape(-1, int(lengths[0]))), ends


def _read_store(folder: Path) -> list[FeatureTable]:
    """Read stored embeddings, averaged over a recording's windows; recordings that lack a view are left out of it."""
    found = open_stored(folder)
    tables = []
    for view in found.views:
        clips, present = (torch.from_numpy(part[view]) for part in (found.clips, found.present))
        rows = present.any(1).nonzero().flatten()
        means = clips[rows].float().sum(1) / present[rows].sum(1, keepdim=True)
        tables.append(FeatureTable(view, [found.ids[row] for row in rows.tolist()], means))
    return tables
