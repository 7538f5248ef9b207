"""The run folder: settings, environment, metrics, timings, samples; and the rules of entering one that is not empty."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml

from coview.errors import CoviewError, UsageError
from coview.files import is_leftover, write_aside
from coview.settings import diff
from coview.training.settings import RunSettings, load_run, run_to_dict

# Settings that do not change what a run computes: a resumed run may have others.
FREE = ("train.workers", "train.keep", "train.checkpoint_every", "train.device")


def enter(out: Path, settings: RunSettings, *, resume: bool, overwrite: bool) -> None:
    """Make the run folder and write the settings, or check that an existing one may be continued.

    Raises:
        UsageError: the folder holds something and neither `resume` nor `overwrite` was asked; it is not a run and
            would be overwritten; or the settings differ from those of the run to be resumed (the message lists how).
    """
    stored = out / "settings.yaml"
    filled = out.is_dir() and not all(is_leftover(path) for path in out.iterdir())
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file stands where the run's folder should be; choose another name")
    if filled and not resume and not overwrite:
        raise UsageError(f"{out}: the folder is not empty; --resume continues the run in it, --overwrite replaces it")
    if filled and not stored.exists() and not (out / "environment.json").exists():
        raise UsageError(f"{out}: the folder is not empty and not a run; choose another one")
    if filled and overwrite:
        shutil.rmtree(out)
    elif stored.exists():
        changed = changes(run_to_dict(load_run(stored)), run_to_dict(settings))
        if changed:
            listed = "\n".join(f"  - {line}" for line in changed)
            raise UsageError(
                f"{out}: the run was started with other settings (stored -> asked):\n{listed}\n"
                f"Ask for the stored ones to continue it, or start a new run with --init-from {out}"
            )
    out.mkdir(parents=True, exist_ok=True)
    # The environment first: a folder with either file is known as a run, however early it was killed.
    write_aside(out / "environment.json", json.dumps(environment(), indent=1) + "\n")
    write_aside(stored, yaml.safe_dump(run_to_dict(settings), sort_keys=False, allow_unicode=True))


def changes(stored: Any, asked: Any) -> list[str]:
    """Return one line for each setting of a run (as in settings.yaml) that differs and changes what it computes."""
    return [line for line in diff(stored, asked) if line.partition(":")[0] not in FREE]


def environment() -> dict[str, Any]:
    """Return what a run's numbers may depend on beside its settings."""
    packages = ("coview", "torch", "torchvision", "numpy", "av", "safetensors")
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "commit": _commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
    }


def _commit() -> str | None:
    """Return the commit of a source checkout; an installed package has none."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


class Lines:
    """A file of JSON lines, one per entry with its `step`; on resume it is cut back to the steps that were saved."""

    def __init__(self, path: Path | None, step: int) -> None:
        self.path = path
        if path is None:  # a process that does not write
            return
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
        write_aside(path, "".join(kept))
        self.stream: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add one line; a number that is not finite becomes null."""
        if self.path is None:
            return
        plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}
        try:
            self.stream.write(json.dumps({"step": step, **plain}, allow_nan=False) + "\n")
        except OSError as error:
            raise CoviewError(
                f"{self.path}: cannot be written ({error}); make room, then continue with --resume"
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self.path is not None:
            self.stream.close()


def open_board(folder: Path | None) -> Callable[[int, Mapping[str, Any]], None]:
    """Return a function that adds a step's numbers to TensorBoard files in `folder`; without a folder it does nothing.

    Raises:
        UsageError: TensorBoard is not installed.
    """
    if folder is None:
        return lambda step, values: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError('train.tensorboard needs the extra: pip install "coview[tensorboard]"') from error
    writer = SummaryWriter(str(folder))

    def add(step: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return add


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a file of JSON lines; none where there is no file."""
    return [json.loads(line) for line in _whole_lines(path)]


def _whole_lines(path: Path) -> list[str]:
    """Return the lines that end; a kill can leave half of one."""
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
