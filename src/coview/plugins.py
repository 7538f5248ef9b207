"""What other installed packages add by their entry points, looked for once in a process: it costs a look at each."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoints
from typing import Any, cast


def entry_points(**wanted: str) -> EntryPoints:
    """Return the entry points that have this group and, where it is asked for, this name."""
    return cast(EntryPoints, _all().select(**wanted))


@cache
def _all() -> Any:  # Python 3.11 has another class for all of them, which selects too
    return metadata.entry_points()
