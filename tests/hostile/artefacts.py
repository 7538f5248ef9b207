"""One mutation for every field of a file of ours, whatever its format: JSON, Parquet, safetensors, .npy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Mutation = tuple[str, Callable[[Path], None]]  # what it does; does it to the file
VALUES: tuple[Any, ...] = (None, -1, 2**70, 1e400, "x\x1b[2J", True, [], {}, [[1]])


def mutations(path: Path) -> Iterator[Mutation]:
    """Yield every mutation of a file, by its suffix, and those of any file."""
    size = path.stat().st_size
    for name, change in (
        ("empty", lambda data: b""),
        ("noise", lambda data: bytes(range(256)) * 8),
        ("half", lambda data: data[: size // 2]),
        ("one byte less", lambda data: data[:-1]),
    ):
        yield f"{path.name}: {name}", lambda file, change=change: file.write_bytes(change(file.read_bytes()))
    kinds = {".json": _json, ".parquet": _parquet, ".safetensors": _safetensors, ".npy": _npy}
    yield from kinds.get(path.suffix, lambda path: iter(()))(path)


def _json(path: Path) -> Iterator[Mutation]:
    for bomb in ("[" * 100000, '{"a":' * 5000 + "1" + "}" * 5000, "[]", "null", '{"format": 1}'):
        yield f"{path.name}: {bomb[:8]}...", lambda file, bomb=bomb: file.write_text(bomb)
    for place in _places(json.loads(path.read_text(encoding="utf-8"))):
        for value in (*VALUES, "dropped"):
            name = f"{path.name}: {'.'.join(map(str, place))} = {value!r}"
            yield name, lambda file, place=place, value=value: _change(file, place, value)


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*above, name)
        yield from _places(inner, (*above, name))


def _change(file: Path, place: tuple[Any, ...], value: Any) -> None:
    data = json.loads(file.read_text(encoding="utf-8"))
    inner = data
    for step in place[:-1]:
        inner = inner[step]
    if value == "dropped":
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    file.write_text(json.dumps(data), encoding="utf-8")


def _parquet(path: Path) -> Iterator[Mutation]:
    for column in pq.read_table(path).column_names:
        for name, change in COLUMN.items():
            yield (
                f"{path.name}: {column} {name}",
                lambda file, column=column, change=change: pq.write_table(change(pq.read_table(file), column), file),
            )
    yield f"{path.name}: twice", lambda file: pq.write_table(pa.concat_tables([pq.read_table(file)] * 2), file)
    yield f"{path.name}: no rows", lambda file: pq.write_table(pq.read_table(file).slice(0, 0), file)


def _set(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, values)


COLUMN: dict[str, Callable[[pa.Table, str], pa.Table]] = {
    "dropped": lambda table, column: table.drop_columns([column]),
    "null": lambda table, column: _set(table, column, pa.nulls(len(table), table.schema.field(column).type)),
    "of text": lambda table, column: _set(table, column, pa.array(["x\x1b[2J"] * len(table))),
    "of numbers": lambda table, column: _set(table, column, pa.array([-(2**62)] * len(table))),
    "of NaN": lambda table, column: _set(table, column, pa.array([float("nan")] * len(table))),
    "of lists": lambda table, column: _set(table, column, pa.array([[1, 2]] * len(table))),
    "turned": lambda table, column: _set(table, column, table[column].take(pa.array(range(len(table))[::-1]))),
}


def _safetensors(path: Path) -> Iterator[Mutation]:
    yield f"{path.name}: 2^40", lambda file: file.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    header = json.dumps({"x": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 8]}}).encode()
    huge = len(header).to_bytes(8, "little") + header + bytes(8)
    yield f"{path.name}: a huge tensor", lambda file: file.write_bytes(huge)
    from safetensors.numpy import load_file, save_file

    for name in list(load_file(path))[:12]:
        changes = {
            "dropped": None,
            "NaN": np.nan,
            "shape": np.zeros((2, 3, 5), np.float32),
            "text": np.zeros(3, np.uint8),
        }
        for kind, value in changes.items():

            def change(file: Path, name: str = name, kind: str = kind, value: Any = value) -> None:
                tensors = load_file(file)
                whole = tensors.pop(name)
                if kind == "NaN":
                    tensors[name] = np.full_like(whole, np.nan) if whole.dtype.kind == "f" else whole * 0 - 1
                elif kind != "dropped":
                    tensors[name] = value
                save_file(tensors, file)

            yield f"{path.name}: {name} {kind}", change


def _npy(path: Path) -> Iterator[Mutation]:
    shape = np.load(path, mmap_mode="r").shape
    for name, header in (
        ("longer than the file", {"descr": "<f4", "fortran_order": False, "shape": (2**40, 8)}),
        ("objects", {"descr": "|O", "fortran_order": False, "shape": shape}),
        ("another width", {"descr": "<f4", "fortran_order": False, "shape": (1, 3)}),
        ("negative", {"descr": "<f4", "fortran_order": False, "shape": (-1, 8)}),
    ):
        text = repr(header).ljust(117).encode() + b"\n"
        head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
        yield f"{path.name}: {name}", lambda file, head=head: file.write_bytes(head + file.read_bytes()[128:])
    if np.load(path, mmap_mode="r").dtype.kind == "f":
        yield f"{path.name}: NaN", lambda file: np.save(file, np.full_like(np.load(file), np.nan))
