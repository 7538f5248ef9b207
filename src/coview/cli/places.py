"""What can be said of the names that a verb is given before anything heavy is imported: there is no such place."""

from __future__ import annotations

from pathlib import Path

from coview.data.synthetic import COUNTS, NOISY_DIGITS, is_world
from coview.errors import UsageError


def check_models(*paths: Path | None) -> None:
    """Raise UsageError where one of the paths that are given is no file or folder."""
    for path in paths:
        if path is not None and not path.exists():
            raise UsageError(f"{path}: expected a run with a model or the folder of one, and there is no such folder")


def check_sources(*names: str | None) -> None:
    """Raise UsageError where one of the names that are given is neither a path nor a world; joined names are let by."""
    for name in names:
        if name is None or Path(name).exists() or is_world(name) or name == NOISY_DIGITS or set(name) & set("=,@+"):
            continue
        raise UsageError(f"{name}: neither a folder that exists nor a world ({', '.join([*COUNTS, NOISY_DIGITS])})")


def check_files(*paths: Path | None) -> None:
    """Raise UsageError where one of the paths that are given is not there."""
    for path in paths:
        if path is not None and not path.exists():
            raise UsageError(f"{path}: there is no such file")
