"""Damage to what a run keeps: one mutation per field and per way of breaking a file, each with a name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Mutation = tuple[str, Callable[[Path], None]]  # what it does; does it to a run folder
VALUES: tuple[Any, ...] = (None, -1, 2**70, 1e400, "x", True, [], {}, [[1]], {"a": {"b": 1}})
BOMB = "".join(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10))
FILES = ("settings.yaml", "metrics.jsonl", "timings.jsonl", "environment.json", "checkpoints/last")
LAST = "checkpoints/step-00000006"


def settings(run: Path) -> Iterator[Mutation]:
    """Yield a mutation for every setting in settings.yaml, and for its whole."""
    yield from _fields(run, "settings.yaml", lambda text: yaml.safe_load(text), lambda value: yaml.safe_dump(value))
    yield "settings.yaml: bomb", _text("settings.yaml", f"a0: &a0 [x, x]\n{BOMB}")
    yield "settings.yaml: itself", _text("settings.yaml", "method: &m {name: dcca, again: *m}\n")
    yield "settings.yaml: code", _text("settings.yaml", "method: !!python/object/apply:os.system [touch owned]\n")
    yield "settings.yaml: deep", _text("settings.yaml", "method: " + "[" * 5000 + "]" * 5000)


def states(run: Path) -> Iterator[Mutation]:
    """Yield a mutation for every entry of the newest checkpoint's state.json."""
    yield from _fields(run, f"{LAST}/state.json", json.loads, json.dumps)
    yield "state.json: deep", _text(f"{LAST}/state.json", "[" * 100000)
    yield "last: elsewhere", _text("checkpoints/last", "../../elsewhere")
    yield "last: long", _text("checkpoints/last", "step-" + "0" * 10000)
    yield "metrics.jsonl: no object", _text("metrics.jsonl", "[]\n")
    yield "metrics.jsonl: no step", _text("metrics.jsonl", '{"loss": 1}\n')
    yield "metrics.jsonl: deep", _text("metrics.jsonl", "[" * 100000 + "\n")


def files(run: Path) -> Iterator[Mutation]:
    """Yield ways in which each file of a run is broken as a whole."""
    tensors = [f"{LAST}/{name}.safetensors" for name in ("model", "optimiser")]
    for name in (*FILES, f"{LAST}/state.json", *tensors):
        size = (run / name).stat().st_size
        yield f"{name}: empty", _text(name, "")
        yield f"{name}: half", lambda folder, name=name, size=size: os.truncate(folder / name, size // 2)
        yield f"{name}: noise", lambda folder, name=name: _write(folder / name, bytes(range(256)) * 4)
        yield f"{name}: gone", lambda folder, name=name: (folder / name).unlink()
        yield f"{name}: a folder", lambda folder, name=name: ((folder / name).unlink(), (folder / name).mkdir())
        yield f"{name}: a pipe", lambda folder, name=name: ((folder / name).unlink(), os.mkfifo(folder / name))
    for name in tensors:
        yield f"{name}: 2^40", lambda folder, name=name: _write(folder / name, (2**40).to_bytes(8, "little") + b"{}")
        header = json.dumps({"x": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 8]}}).encode()
        whole = len(header).to_bytes(8, "little") + header + bytes(8)
        yield f"{name}: huge tensor", lambda folder, name=name, whole=whole: _write(folder / name, whole)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _text(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: _write(folder / name, text.encode())


def _fields(run: Path, name: str, read: Callable[[str], Any], write: Callable[[Any], str]) -> Iterator[Mutation]:
    text = (run / name).read_text(encoding="utf-8")

    def change(place: tuple[Any, ...], value: Any, drop: bool = False) -> Callable[[Path], None]:
        def mutate(folder: Path) -> None:
            data = read(text)
            inner = data
            for step in place[:-1]:
                inner = inner[step]
            if drop:
                del inner[place[-1]]
            else:
                inner[place[-1]] = value
            _write(folder / name, write(data).encode())

        return mutate

    for place in _places(read(text)):
        label = f"{name}: {'.'.join(map(str, place))}"
        yield f"{label} dropped", change(place, None, drop=True)
        for value in VALUES:
            yield f"{label} = {value!r}", change(place, value)


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*above, name)
        yield from _places(inner, (*above, name))
