"""Parquet tables that may be anybody's: read within limits and checked, written whole, and known by a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection as Names
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from coview.errors import UsageError
from coview.files import written_whole

_EXPANDED = 1 << 34  # bytes that the columns of one table may have in memory
_BEFORE = ("id", "digest", "start", "end", "label")  # all that a fingerprint covered before rows had an identity


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file whole or not at all."""
    # Arrow opens no file whose name is not UTF-8, so it is given open ones.
    with written_whole(path) as aside, aside.open("wb") as stream:
        pq.write_table(table, stream)


def read_table(
    path: Path, schema: pa.Schema, *, later: Names[str] = (), columns: Names[str] | None = None, remedy: str
) -> pa.Table:
    """Return columns of a Parquet file in the types and the order of `schema`.

    Args:
        later: columns that the file may lack; those are then lacking in the table too.
        columns: which ones are read; None reads all of the schema's.
        remedy: what to do about a file that is not as it should be.

    Raises:
        UsageError: no regular file, no Parquet, more rows than its bytes can hold, a column is lacking, of another
            type, or has empty places where none may be; names the file.
    """
    wanted = [name for name in schema.names if columns is None or name in columns]
    try:
        if not path.is_file():
            raise ValueError("it is no regular file" if path.exists() else "it is not there")
        size = path.stat().st_size
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            about, there = file.metadata, file.schema_arrow
            lacking = [name for name in wanted if name not in there.names]
            if strange := [name for name in lacking if name not in later]:
                raise ValueError(f"it has no column {', '.join(strange)}")
            if len(set(there.names)) < len(there.names):
                raise ValueError("two of its columns have one name")
            groups = [about.row_group(k) for k in range(about.num_row_groups)]
            # Every row has something of its own, an id or a place; far more rows than bytes are no table of ours.
            if not 0 <= about.num_rows <= size or sum(group.num_rows for group in groups) != about.num_rows:
                raise ValueError(f"{about.num_rows} rows cannot be in its {size} bytes")
            if sum(group.total_byte_size for group in groups) > _EXPANDED:
                raise ValueError(f"its columns would take more than {_EXPANDED >> 30} GiB")
            names = [name for name in wanted if name in there.names]
            table = file.read(columns=names).select(names)
        if table.num_rows != about.num_rows:
            raise ValueError(f"{about.num_rows} rows are announced, {table.num_rows} are there")
        for name in names:
            field = schema.field(name)
            if not _fits(table.schema.field(name).type, field.type):
                raise ValueError(f"column {name!r} holds {table.schema.field(name).type}, expected {field.type}")
            if not field.nullable and table.column(name).null_count:
                raise ValueError(f"column {name!r} has empty places")
        table = table.cast(pa.schema([schema.field(name) for name in names]))
        table.validate(full=True)  # text that is UTF-8, offsets that lie inside
        return table
    except (OSError, pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
        why = " ".join(str(error).split())[:300] or "there is not enough memory for it"
        raise UsageError(f"{path}: cannot be read: {why}; {remedy}") from error


def _fits(there: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether a column of one type may stand for another: the same kind, another width at most."""
    if pa.types.is_dictionary(there):
        there = there.value_type
    if pa.types.is_null(there):  # all places are empty
        return True
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, _is_text, _is_list, pa.types.is_map)
    return any(kind(there) and kind(wanted) for kind in (*kinds, pa.types.is_struct))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def fingerprint_of(table: pa.Table, classes: Sequence[str]) -> str:
    """Return 16 hexadecimal digits that change with anything a view or a protocol reads, and with the rows' order.

    Each row's `identity` covers the row; `classes` say what the number of a label means. A table of an earlier version
    has the fingerprint that it always had (id, digest, span and label), so that runs and features of it are known.
    """
    digest = hashlib.sha256()
    if "identity" in table.column_names:
        digest.update(json.dumps(list(classes)).encode())
        digest.update(table.column("identity").to_numpy().astype("<i8").tobytes())
    else:
        for values in zip(*(table.column(name).to_pylist() for name in _BEFORE), strict=True):
            digest.update(json.dumps(values).encode())
    return digest.hexdigest()[:16]


def in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; `combine_chunks` copies even a single piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
