"""What other installed packages add by their entry points, looked for once in a process: it costs a look at each."""

from __future__ import annotations

from functools import cache
from importlib import metadata
from importlib.metadata import EntryPoints


def entry_points(**wanted: str) -> EntryPoints:
    """Return the entry points that have this group and, where it is asked for, this name."""
    return _all().select(**wanted)


@cache
def _all() -> EntryPoints:
    return metadata.entry_points()
