"""Matrices on disk, read in blocks of rows: NumPy's .npy, safetensors, Parquet columns of lists.

Blocks are read, not memory-mapped: pages of a mapped file count as this process's memory until the kernel wants them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from coview.errors import InputError

Where: TypeAlias = str | Path | tuple[str | Path, str]
_SAFETENSORS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class RawTable:
    """Rows that lie one after the other in a file.

    Attributes:
        path: the file.
        rows, dim: shape of the matrix.
        dtype: of its numbers, little-endian.
        offset: byte where the first number is.
    """

    path: Path
    rows: int
    dim: int
    dtype: torch.dtype
    offset: int

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """Yield rows start..stop in blocks (size, dim); the memory of one is used again for the next."""
        width = self.dim * self.dtype.itemsize
        memory = bytearray(min(size, stop - start) * width)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(self.offset + start * width)
            for first in range(start, stop, size):
                wanted = min(size, stop - first) * width
                view, done = memoryview(memory)[:wanted], 0
                while done < wanted:
                    got = stream.readinto(view[done:])
                    if not got:
                        raise InputError(f"{self.path} ends before its row {self.rows}; it was not written whole")
                    done += got
                yield torch.frombuffer(memory, dtype=self.dtype, count=wanted // self.dtype.itemsize).view(-1, self.dim)


@dataclass(frozen=True)
class ParquetTable:
    """A Parquet column whose items are lists of `dim` numbers; the attributes are those of `RawTable`."""

    path: Path
    column: str
    rows: int
    dim: int

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Tensor]:
        """Yield rows start..stop in blocks (at most size, dim); a null list is a row of NaN."""
        with pq.ParquetFile(self.path) as file:
            ends = np.cumsum([file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)])
            groups = [n for n, end in enumerate(ends) if end > start and end - _group_rows(file, n) < stop]
            first = int(ends[groups[0]]) - _group_rows(file, groups[0]) if groups else 0
            for batch in file.iter_batches(size, row_groups=groups, columns=[self.column]):
                low, high = max(start - first, 0), min(stop - first, batch.num_rows)
                first += batch.num_rows
                if low < high:
                    yield self._tensor(batch.column(0).slice(low, high - low))

    def _tensor(self, lists: Any) -> Tensor:
        there = lists.is_valid()
        numbers = lists.filter(there).flatten()
        count = len(lists) - lists.null_count
        if numbers.null_count or len(numbers) != count * self.dim:
            raise InputError(f"{self.path}: column {self.column!r} has rows that are not {self.dim} numbers long")
        values = numbers.to_numpy(zero_copy_only=False).reshape(-1, self.dim)
        rows = np.full((len(lists), self.dim), np.nan, values.dtype)
        rows[there.to_numpy(zero_copy_only=False)] = values
        return torch.from_numpy(rows)


def _group_rows(file: Any, number: int) -> int:
    return int(file.metadata.row_group(number).num_rows)


def open_table(where: Where) -> RawTable | ParquetTable:
    """Open a matrix of floating numbers: a .npy file, or (file, name) of a safetensors tensor or a Parquet column.

    The name may be left out where the file holds one matrix only.

    Raises:
        InputError: the file is none of these, holds no such matrix, or it is not (rows, columns) of floats.
    """
    path, name = (Path(where[0]), where[1]) if isinstance(where, tuple) else (Path(where), None)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    readers: dict[str, Callable[[Path, str | None], RawTable | ParquetTable]] = {
        ".npy": _open_npy,
        ".safetensors": _open_safetensors,
        ".parquet": _open_parquet,
    }
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a file ending in {', '.join(readers)}")
    return readers[path.suffix](path, name)


def _open_npy(path: Path, name: str | None) -> RawTable:
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = header(stream)
        except ValueError as error:
            raise InputError(f"{path}: no array file of NumPy ({error})") from None
        offset = stream.tell()
    if len(shape) != 2 or fortran or dtype.kind != "f" or dtype.newbyteorder("<") != dtype:
        raise InputError(
            f"{path}: holds {dtype} {shape}{' in Fortran order' if fortran else ''}; expected little-endian floats, "
            "(rows, columns) in C order"
        )
    rows, dim = shape
    return RawTable(path, rows, dim, torch.from_numpy(np.empty(0, dtype)).dtype, offset)


def _open_safetensors(path: Path, name: str | None) -> RawTable:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > path.stat().st_size:
            raise InputError(f"{path}: no safetensors file, its header is said to be longer than itself")
        header = {key: value for key, value in json.loads(stream.read(length)).items() if key != "__metadata__"}
    name = _only(path, name, [key for key, value in header.items() if len(value["shape"]) == 2])
    entry = header[name]
    if entry["dtype"] not in _SAFETENSORS:
        raise InputError(f"{path}: {name!r} is of type {entry['dtype']}; expected one of {', '.join(_SAFETENSORS)}")
    rows, dim = entry["shape"]
    return RawTable(path, rows, dim, _SAFETENSORS[entry["dtype"]], 8 + length + entry["data_offsets"][0])


def _open_parquet(path: Path, name: str | None) -> ParquetTable:
    with pq.ParquetFile(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        lists = [field.name for field in schema if pa.types.is_list(field.type) or _fixed(field.type)]
        name = _only(path, name, lists)
        kind = schema.field(name).type
        if not pa.types.is_floating(kind.value_type):
            raise InputError(f"{path}: column {name!r} holds {kind}; expected lists of floating numbers")
        dim = kind.list_size if _fixed(kind) else _first_length(file, name)
    return ParquetTable(path, name, rows, dim)


def _first_length(file: Any, name: str) -> int:
    """Return the numbers in the first list that is not null."""
    for batch in file.iter_batches(1024, columns=[name]):
        lists = batch.column(0).drop_null()
        if len(lists):
            return len(lists[0])
    return 0


def _fixed(kind: Any) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _only(path: Path, name: str | None, there: list[str]) -> str:
    if name is None and len(there) == 1:
        return there[0]
    if name not in there:
        asked = f"no matrix {name!r}" if name else "several matrices, or none"
        raise InputError(f"{path}: there is {asked}; name one of [{', '.join(there)}] as (path, name)")
    return name


def read_blocks(
    views: Sequence[Where], size: int = 4096, share: tuple[int, int] = (0, 1)
) -> Iterator[tuple[Tensor, ...]]:
    """Yield paired blocks, one (size, d_v) tensor per view, of matrices on disk; overwritten by the next block.

    Args:
        views: what `open_table` opens.
        size: rows of a block.
        share: (r, W) reads the r-th of W even parts of the rows.

    Raises:
        InputError: as `open_table`, or the views have different numbers of rows.
    """
    tables = [open_table(view) for view in views]
    if len({table.rows for table in tables}) != 1:
        counts = ", ".join(f"{os.fspath(table.path)}: {table.rows}" for table in tables)
        raise InputError(f"views must have the same rows, found {counts}")
    number, parts = share
    start, stop = (tables[0].rows * n // parts for n in (number, number + 1))
    yield from zip(*(_even(table.blocks(start, stop, size), size) for table in tables), strict=True)


def _even(blocks: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Cut blocks of any length to `size` rows each: Parquet's end with its row groups."""
    held: list[Tensor] = []
    for block in blocks:
        if not held and len(block) == size:
            yield block
            continue
        held.append(block.clone())
        joined = torch.cat(held)
        while len(joined) >= size:
            yield joined[:size]
            joined = joined[size:]
        held = [joined] if len(joined) else []
    if held:
        yield held[0]
