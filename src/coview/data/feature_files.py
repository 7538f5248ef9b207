"""Feature files: vectors that were computed before, one per recording, in the formats that people keep them in.

    folder of `coview embed`   one table per view; the mean over a recording's windows
    .parquet                   a column `id`, every column of number lists is a table; `label` and `split` if present
    .safetensors               every matrix is a table; `label` (int64) if present
    .npy                       one matrix

Matrices without ids are told apart by row number, so that such files belong together only where their rows do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from torch import Tensor

from coview.data.stored import is_stored, open_stored
from coview.errors import InputError, UsageError
from coview.files import read_tensors

SUFFIXES = (".parquet", ".safetensors", ".npy")


@dataclass(frozen=True)
class FeatureTable:
    """Features of one view.

    Attributes:
        name: what its file calls it.
        ids: a recording's id per row, each once.
        values: float32 (N, D), finite.
        labels, splits: per row, None where there is none; empty where the file has no such column.
    """

    name: str
    ids: list[str]
    values: Tensor
    labels: list[str | None] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)


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
    except (OSError, ValueError, SafetensorError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as features ({error})") from error
    if not tables:
        raise UsageError(
            f"{path}: found no features; expected number lists in a Parquet file, matrices in a .safetensors or .npy "
            "file, or a folder that `coview embed` has completed"
        )
    for table in tables:
        wrong = (~torch.isfinite(table.values).all(1)).nonzero().flatten().tolist()
        if wrong:
            raise InputError(
                f"{path}: {len(wrong)} rows of {table.name!r} hold NaN or infinity, first {table.ids[wrong[0]]!r}; "
                "leave such recordings out"
            )
        if len(set(table.ids)) < len(table.ids):
            raise InputError(f"{path}: {len(table.ids) - len(set(table.ids))} ids of {table.name!r} occur twice")
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
        return [_by_row(name, value.float(), labels) for name, value in tensors.items() if value.ndim == 2]
    if path.suffix == ".npy":
        array = np.load(path, allow_pickle=False)
        return [_by_row(path.stem, torch.from_numpy(array.astype(np.float32)))] if array.ndim == 2 else []
    raise UsageError(f"{path}: expected {', '.join(SUFFIXES)} or a folder that `coview embed` has made")


def _by_row(name: str, values: Tensor, labels: Sequence[str | None] = ()) -> FeatureTable:
    if labels and len(labels) != len(values):
        raise InputError(f"{len(labels)} labels for the {len(values)} rows of {name!r}; expected one each")
    return FeatureTable(name, [f"{row:09d}" for row in range(len(values))], values, list(labels))


def _read_parquet(path: Path) -> list[FeatureTable]:
    table = pq.read_table(path)
    if "id" not in table.column_names:
        raise UsageError(f"{path}: expected a column `id` with the recordings' ids, found {table.column_names}")
    ids = [str(value) for value in table.column("id").to_pylist()]
    known: dict[str, list[str | None]] = {}
    for name in ("label", "split"):
        values = table.column(name).to_pylist() if name in table.column_names else []
        known[name] = [None if value is None else str(value) for value in values]
    return [
        FeatureTable(column.name, ids, _matrix(table.column(column.name), column.name), known["label"], known["split"])
        for column in table.schema
        if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ]


def _matrix(column: Any, name: str) -> Tensor:
    rows = [np.asarray(value, dtype=np.float32) for value in column.to_numpy(zero_copy_only=False)]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise InputError(f"column {name!r} holds vectors of {sorted(lengths)} numbers; expected one length")
    return torch.from_numpy(np.stack(rows))


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
