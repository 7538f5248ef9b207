"""Checkpoints: folders of safetensors and JSON, named by step, complete or not there at all; nothing is unpickled.

`checkpoints/step-00000500/` holds `model.safetensors` (the method's whole state, banks and teachers too, and that of
the preprocessing), `optimiser.safetensors` and `state.json`; `checkpoints/last` names the newest one. All of a
method's state is the same on every process (rule: replicate), so a checkpoint fits any number of processes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from coview.errors import CoviewError, UsageError
from coview.files import read_tensors, write_aside, write_tensors


@dataclass(kw_only=True)
class Checkpoint:
    """What a run needs to continue to the bit; random numbers are functions of (seed, step) and need no state.

    Attributes:
        step: optimiser steps done; the order of samples and the learning rate follow from it.
        model: state by name, prefixed "method." and "preprocess.".
        optimiser: `state_dict()` of the optimiser.
        facts: world size, fingerprint of the collection, numbers of rows and classes, for checks at resume.
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
        write_aside(aside / "state.json", json.dumps(state, indent=1))
        if target.exists():  # the same step, once more: a run stopped twice at one place
            shutil.rmtree(target)
        aside.rename(target)
        write_aside(folder / "last", target.name + "\n")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CoviewError(
            f"{target}: the checkpoint could not be written ({error}). Earlier checkpoints are intact; make room or "
            f"choose another disk, then continue with --resume"
        ) from error
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return target


def last(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None where there is none."""
    pointer = folder / "last"
    named = folder / pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None
    if named is not None and named.is_dir():
        return named
    # The process was killed between the two renames: what is named step-* is complete.
    return max(folder.glob("step-*"), default=None)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, on the CPU.

    Raises:
        UsageError: the folder is not a checkpoint, or a file of it is damaged.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        model = read_tensors(path / "model.safetensors")
        tensors = read_tensors(path / "optimiser.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(
            f"{path}: not a readable checkpoint ({error}); remove it to continue from an earlier one"
        ) from error
    optimiser = {"state": _join(tensors, state.pop("optimiser_state")), "param_groups": state.pop("optimiser_groups")}
    return Checkpoint(step=state.pop("step"), model=model, optimiser=optimiser, facts=state)


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
