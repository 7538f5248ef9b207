"""Damage to models, stored embeddings and foreign checkpoints: one mutation per field, and ways of breaking a file."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

Mutation = tuple[str, Callable[[Path], None]]  # what it does; does it to a folder, or to a file
VALUES: tuple[Any, ...] = (None, -1, 0, 2**40, 2**70, 1e400, "x", True, [], {}, [[1]], {"a": {"b": 1}}, "../../x")
_DEEP = "[" * 100_000


def models(folder: Path) -> Iterator[Mutation]:
    """Yield damage to a model folder."""
    for name in ("config.json", "preprocessing.json"):
        yield from _fields(folder, name)
        yield f"{name}: deep", _text(name, _DEEP)
        yield f"{name}: deep object", _text(name, '{"a":' * 50_000)
        yield f"{name}: no object", _text(name, "[1]")
    for name in ("config.json", "preprocessing.json", "model.safetensors"):
        yield from _broken(folder, name)
    for slug in ("", "no-such-method", "os:system", "xid.pth", "x" * 10_000):
        yield f"method: {slug[:20]}", _set("config.json", ("method",), slug)
    names = list(load_file(folder / "model.safetensors"))
    for name in (names[0], names[-1]):
        for kind, change in _TENSORS.items():
            yield f"{name}: {kind}", _tensors(name, change)
    yield "weights: one more", _tensors("more", lambda value: torch.zeros(3))
    yield "weights: of another model", _tensors("", None)
    yield "weights: a header of 2^40", lambda f: (f / "model.safetensors").write_bytes((2**40).to_bytes(8, "little"))
    yield "weights: flipped", lambda f: _flip(f / "model.safetensors", -5)


def stores(folder: Path) -> Iterator[Mutation]:
    """Yield damage to a folder of stored embeddings."""
    yield from _fields(folder, "card.json")
    yield "card.json: deep", _text("card.json", _DEEP)
    yield "card.json: path", _set("card.json", ("views",), {"../../../etc/passwd": 4})
    yield "card.json: 2^40 rows", _set("card.json", ("recordings",), 2**39)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield from _broken(folder, str(path.relative_to(folder)))
    first = next(path for path in sorted(folder.glob("*.npy")) if path.name.count(".") == 1)
    for kind, shape in (("huge", (2**40, 4)), ("other", (3,)), ("negative", (-1, 4))):
        yield f"{first.name}: {kind}", lambda f, shape=shape: _header(f / first.name, shape)
    yield f"{first.name}: objects", lambda f: np.save(f / first.name, np.array([{}], dtype=object), allow_pickle=True)
    yield f"{first.name}: NaN", lambda f: np.save(f / first.name, np.full_like(np.load(f / first.name), np.nan))
    yield "done: problems nowhere", _set("done/00000.json", ("problems",), [[10**9, "x"]])
    yield "done: kinds", _set("done/00000.json", ("problems",), {"a": 1})


def checkpoints(path: Path) -> Iterator[Mutation]:
    """Yield damage to a PyTorch checkpoint of another code; the callables are given the file."""
    size, loaded = path.stat().st_size, torch.load(path, weights_only=True)
    yield "gone", lambda file: file.unlink()
    yield "pipe", lambda file: (file.unlink(), os.mkfifo(file))
    yield "folder", lambda file: (file.unlink(), file.mkdir())
    for share in (0, 1, 3):
        yield f"cut to {share}/4", lambda file, share=share: os.truncate(file, size * share // 4)
    yield "noise", lambda file: file.write_bytes(bytes(range(256)) * 16)
    yield "flipped", lambda file: _flip(file, size // 2)
    yield "code", lambda file: file.write_bytes(pickle.dumps({"model": _Code()}))
    yield "bomb", _bomb
    for name, value in (("list", [1]), ("no model", {"epoch": 1}), ("empty", {"model": {}}), ("text", {"model": "x"})):
        yield name, lambda file, value=value: torch.save(value, file)
    keys = list(loaded["model"])
    chosen = [keys[0], keys[-1], *[key for key in keys if key.endswith("weight") and "proj" in key][-2:]]
    for key in chosen:
        for kind, change in _TENSORS.items():
            yield f"{key}: {kind}", lambda file, key=key, change=change: _checkpoint(file, key, change)
        yield f"{key}: 2^40 rows of nothing", lambda file, key=key: _checkpoint(file, key, _expanded)
    yield "epoch", lambda file: torch.save({**loaded, "epoch": -(2**62)}, file)
    yield (
        "a strange name",
        lambda file: _checkpoint(file, "module.video_proj.projection.x.weight", lambda _: torch.ones(2, 2)),
    )
    yield "a classifier of nothing", lambda file: _checkpoint(file, "module.proj.weight", lambda _: torch.tensor(1.0))


_TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "missing": lambda value: None,
    "NaN": lambda value: torch.full_like(value, torch.nan) if value.is_floating_point() else None,
    "another shape": lambda value: torch.zeros(2, *value.shape),
    "another kind": lambda value: torch.zeros(value.shape, dtype=torch.complex64),
    "whole numbers": lambda value: torch.zeros(
        value.shape, dtype=torch.int8 if value.is_floating_point() else torch.float32
    ),
}


class _Code:
    def __reduce__(self) -> Any:
        return os.system, ("echo owned",)


def _expanded(value: torch.Tensor) -> torch.Tensor:
    return torch.zeros(1).expand(2**40, *value.shape[1:]) if value.ndim else torch.zeros(1).expand(2**40)


def _checkpoint(file: Path, key: str, change: Callable[[Any], torch.Tensor | None]) -> None:
    loaded = torch.load(file, weights_only=True)
    made = change(loaded["model"].get(key))
    rest = {name: value for name, value in loaded["model"].items() if name != key}
    torch.save({**loaded, "model": rest if made is None else {**rest, key: made}}, file)


def _bomb(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as stream:
            for _ in range(64):
                stream.write(bytes(1 << 20))
        archive.writestr("archive/version", "3\n")


def _fields(folder: Path, name: str) -> Iterator[Mutation]:
    def paths(value: Any, where: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        if where:
            yield where
        pairs = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
        for key, inner in pairs:
            yield from paths(inner, (*where, key))

    for where in paths(json.loads((folder / name).read_text()), ()):
        label = f"{name}: {'.'.join(map(str, where))}"
        yield f"{label} gone", _set(name, where)
        for value in VALUES:
            yield f"{label} = {value!r}", _set(name, where, value)


def _set(name: str, where: tuple[Any, ...], *value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        whole = json.loads((folder / name).read_text())
        inner = whole
        for key in where[:-1]:
            inner = inner[key]
        if value:
            inner[where[-1]] = value[0]
        else:
            del inner[where[-1]]
        (folder / name).write_text(json.dumps(whole))

    return change


def _text(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def _broken(folder: Path, name: str) -> Iterator[Mutation]:
    size = (folder / name).stat().st_size
    yield f"{name}: gone", lambda f: (f / name).unlink()
    yield f"{name}: a pipe", lambda f: ((f / name).unlink(), os.mkfifo(f / name))
    yield f"{name}: a folder", lambda f: ((f / name).unlink(), (f / name).mkdir())
    yield f"{name}: empty", _text(name, "")
    yield f"{name}: half", lambda f: os.truncate(f / name, size // 2)
    yield f"{name}: noise", lambda f: (f / name).write_bytes(bytes(range(256)) * 16)
    yield f"{name}: one bit", lambda f: _flip(f / name, size * 3 // 4)


def _flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(bytes(content))


def _header(path: Path, shape: tuple[int, ...]) -> None:
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        stream.write(bytes(64))


def _tensors(name: str, change: Callable[[Any], torch.Tensor | None] | None) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        if change is None:
            tensors = {"encoders.other": torch.zeros(4)}
        else:
            made = change(tensors.pop(name, None))
            tensors |= {} if made is None else {name: made}
        save_file({key: value.contiguous() for key, value in tensors.items()}, path)

    return act
