"""Checkpoints: folders of safetensors and JSON, named by step, complete or not there at all; nothing is unpickled.

`checkpoints/step-00000500/` holds `model.safetensors` (the method's whole state, banks and teachers too, and that of
the preprocessing), `optimiser.safetensors` and `state.json`, which has their digests; `checkpoints/last` names the
newest one. All of a method's state is the same on every process (rule: replicate), so a checkpoint fits any number of
processes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from coview.errors import CoviewError, UsageError
from coview.files import read_json, read_tensors, read_text, sha256_of, synced, write_aside, write_tensors

_NAME = re.compile(r"step-\d{8,}")
_TENSORS = ("model.safetensors", "optimiser.safetensors")
# What state.json holds; the optional entries came later or are for the run that reads them.
_KINDS: dict[str, Any] = {"step": int, "optimiser_groups": [{"params": [int]}], "optimiser_state": dict}
_OPTIONAL: dict[str, Any] = {
    "sha256": dict,
    "world_size": int,
    "collection": {"name": str, "fingerprint": str, "rows": int},
    "problems": {"read": int, "replaced": list},
    "harvest": {"steps": int, "idle": int, "used": int, "dims": dict, "same": int, "moved": bool},
}


@dataclass(kw_only=True)
class Checkpoint:
    """What a run needs to continue to the bit; random numbers are functions of (seed, step) and need no state.

    Attributes:
        step: optimiser steps done; the order of samples and the learning rate follow from it.
        model: state by name, prefixed "method." and "preprocess.".
        optimiser: `state_dict()` of the optimiser.
        facts: world size, fingerprint of the collection, and what was counted, for checks at resume.
    """

    step: int
    model: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    facts: Mapping[str, Any]


def save(checkpoint: Checkpoint, folder: Path, keep: int) -> Path:
    """Write a checkpoint aside, rename it into place, point `last` at it, and remove all but the newest `keep`.

    Raises:
        CoviewError: it cannot be written (disk full, no permission); earlier checkpoints are untouched.
    """
    target, aside = folder / f"step-{checkpoint.step:08d}", folder / f".step-{checkpoint.step:08d}.partial"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        write_tensors(checkpoint.model, aside / "model.safetensors")
        tensors, plain = _split(checkpoint.optimiser["state"])
        write_tensors(tensors, aside / "optimiser.safetensors")
        groups = checkpoint.optimiser["param_groups"]
        state = {"step": checkpoint.step, **checkpoint.facts, "optimiser_groups": groups, "optimiser_state": plain}
        state["sha256"] = {name: sha256_of(aside / name) for name in _TENSORS}
        write_aside(aside / "state.json", json.dumps(state, indent=1))
        if target.exists():  # the same step, once more: a run stopped twice at one place
            shutil.rmtree(target)
        aside.rename(target)
        synced(folder)
        write_aside(folder / "last", target.name + "\n")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CoviewError(
            f"{target}: the checkpoint could not be written ({error}). Earlier checkpoints are intact; make room or "
            f"choose another disk, then continue with --resume"
        ) from error
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def last(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None where there is none."""
    pointer = folder / "last"
    name = read_text(pointer, "the name of a checkpoint", limit=1000).strip() if pointer.exists() else ""
    if _NAME.fullmatch(name) and (folder / name).is_dir():
        return folder / name
    # The process was killed between the two renames: what is named step-* is complete.
    return max(_complete(folder), default=None)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, on the CPU.

    Raises:
        UsageError: the folder is not a checkpoint, or a file of it is damaged; names the one before it.
    """
    try:
        state = read_json(path / "state.json", "the state of a run")
        _check(state)
        digests = state.pop("sha256", {})  # checkpoints of before have none
        for name in _TENSORS:
            if name in digests and sha256_of(path / name) != digests[name]:
                raise ValueError(f"{name} is not what was written: its digest differs")
        model = read_tensors(path / "model.safetensors")
        tensors = read_tensors(path / "optimiser.safetensors")
        optimiser = {
            "state": _join(tensors, state.pop("optimiser_state")),
            "param_groups": state.pop("optimiser_groups"),
        }
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, UsageError) as error:
        before = max((other for other in _complete(path.parent) if other.name < path.name), default=None)
        offer = f"remove it to continue from {before.name}" if before else "no earlier one is kept: start anew"
        raise UsageError(f"{path}: not a readable checkpoint ({error}); {offer}") from error
    return Checkpoint(step=state.pop("step"), model=model, optimiser=optimiser, facts=state)


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if _NAME.fullmatch(path.name))


def _check(state: Mapping[str, Any]) -> None:
    """Raise ValueError where an entry of state.json is missing or of another kind than is written."""
    for name, kind in {**_KINDS, **{name: kind for name, kind in _OPTIONAL.items() if name in state}}.items():
        if not _is(state.get(name), kind):
            raise ValueError(f"state.json: {name} is not what is written there")


def _is(value: Any, kind: Any) -> bool:
    """Tell whether plain data has a form: a type, {name: form} for some of an object's entries, [form] for a list's."""
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_is(value.get(name), inner) for name, inner in kind.items())
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(item, kind[0]) for item in value)
    if kind is int:  # a count
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
    return isinstance(value, kind)


def _split(state: Mapping[int, Mapping[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an optimiser's state apart into tensors and plain values, both by "parameter.name"."""
    flat = {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}
    tensors = {name: value for name, value in flat.items() if isinstance(value, torch.Tensor)}
    return tensors, {name: value for name, value in flat.items() if name not in tensors}


def _join(tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **plain}.items():
        index, _, entry = name.partition(".")
        state.setdefault(int(index), {})[entry] = value
    return state
