"""The run folder: settings, environment, metrics, timings, samples; and the rules of entering one that is not empty."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from safetensors import SafetensorError

from coview.errors import CoviewError, UsageError
from coview.files import is_leftover, locked, write_aside
from coview.methods import load_method
from coview.settings import diff
from coview.training.schedules import rate_factor
from coview.training.settings import RunSettings, load_run, run_to_dict

# Settings that do not change what a run computes: a resumed run may have others.
FREE = ("train.workers", "train.keep", "train.checkpoint_every", "train.device", "train.loggers", "train.films_gb")
LENGTHS = ("train.steps:", "train.epochs:")  # a resumed run may have more, where that is well defined


def enter(out: Path, settings: RunSettings, *, resume: bool, overwrite: bool, held: ExitStack) -> None:
    """Make the run folder, hold it, and write the settings; or check that an existing one may be continued.

    Args:
        held: gets the lock of the folder, which no other process can then train in.

    Raises:
        UsageError: the folder holds something and neither `resume` nor `overwrite` was asked; it is not a run and
            would be overwritten; another process trains in it; or the settings differ from those of the run to be
            resumed (the message lists how).
        CoviewError: nothing can be written there.
    """
    stored = out / "settings.yaml"
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: a file stands where the run's folder should be; choose another name")
    filled = out.is_dir() and not all(is_leftover(path) for path in out.iterdir())
    if filled and not resume and not overwrite:
        raise UsageError(f"{out}: the folder is not empty; --resume continues the run in it, --overwrite replaces it")
    if filled and not stored.exists() and not (out / "environment.json").exists():
        raise UsageError(f"{out}: the folder is not empty and not a run; choose another one")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        held.enter_context(locked(out, "pretrain"))
        if filled and overwrite:
            _clear(out)
    if stored.exists():
        _check_same(out, load_run(stored), settings)
    with writing(out):
        # The environment first: a folder with either file is known as a run, however early it was killed.
        write_aside(out / "environment.json", json.dumps(environment(), indent=1) + "\n")
        write_aside(stored, yaml.safe_dump(run_to_dict(settings), sort_keys=False, allow_unicode=True))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a full or closed disk raises in the block into a sentence about `path`.

    Raises:
        CoviewError: something could not be written; what was there before is intact.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CoviewError(
            f"{path}: cannot be written ({error}); make room or open the folder, then continue with --resume"
        ) from error


def _clear(out: Path) -> None:
    """Remove everything in a folder but its lock, which is ours."""
    for path in out.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _check_same(out: Path, stored: RunSettings, asked: RunSettings) -> None:
    """Refuse to continue a run with other settings than its own; more steps are well where they change no step done."""
    changed = changes(run_to_dict(stored), run_to_dict(asked))
    lengths = [line for line in changed if line.startswith(LENGTHS)]
    why = why_not_longer(stored, asked) if lengths else None
    if len(lengths) == len(changed) and why is None:
        return
    listed = "\n".join(f"  - {line}" for line in changed)
    raise UsageError(
        f"{out}: the run was started with other settings (stored -> asked):\n{listed}\n"
        + (f"More steps cannot continue it: {why}. " if why else "")
        + f"Ask for the stored ones to continue it, or start a new run with --init-from {out}"
    )


def changes(stored: Any, asked: Any) -> list[str]:
    """Return one line for each setting of a run (as in settings.yaml) that differs and changes what it computes."""
    return [line for line in diff(stored, asked) if line.partition(":")[0] not in FREE]


def why_not_longer(stored: RunSettings, asked: RunSettings) -> str | None:
    """Return why a run cannot be made longer: the steps behind it would have been others; None where it can.

    Both settings are resolved. Well defined means: a run that had been asked for all steps at once is the same.
    """
    before, after = int(stored.train.steps or 0), int(asked.train.steps or 0)
    if after < before:
        return f"it has {before} steps already, and {after} are asked for"
    if any(
        rate_factor(step, before, stored.schedule) != rate_factor(step, after, stored.schedule)
        for step in range(before)
    ):
        return (
            f"its rate follows the {stored.schedule.kind} schedule of {before} steps, which {after} steps would have "
            "taken otherwise (schedule.kind constant without warm-up can be made longer)"
        )
    if load_method(stored.method).length_matters:
        return f"{stored.method} moves with the planned epochs, of which there would have been others"
    return None


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
        kept = [line for line in _whole_lines(path) if _entry(path, line)["step"] <= step]
        with writing(path):
            write_aside(path, "".join(kept))
            self.stream: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add one line; a number that is not finite becomes null."""
        if self.path is None:
            return
        plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}
        with writing(self.path):
            self.stream.write(json.dumps({"step": step, **plain}, allow_nan=False) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self.path is not None:
            with writing(self.path):
                self.stream.close()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a file of JSON lines; none where there is no file."""
    return [_entry(path, line) for line in _whole_lines(path)]


def _entry(path: Path, line: str) -> dict[str, Any]:
    """Return the entry of a line; raises UsageError where it is no object with a step."""
    try:
        entry = json.loads(line)
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            return entry
    except (ValueError, RecursionError):
        pass
    raise UsageError(f"{path}: a line is no entry of a log ({line[:60].strip()!r}); remove the line, or the run")


def _whole_lines(path: Path) -> list[str]:
    """Return the lines that end; a kill can leave half of one."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
