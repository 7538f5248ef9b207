"""`coview prepare --list` and `--remove`: what runs have stored of films, which later runs with the same cut read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

from coview.cli.output import Output

if TYPE_CHECKING:
    from coview.data.shards.films import Cut

DESCRIPTION = """List or remove the films that runs have stored, to read them faster in later epochs and runs.

Films lie in ~/.cache/coview/films (or below XDG_CACHE_HOME), a folder for every rate and size. Removing them costs
nothing but time: a run that needs them stores them again.

Examples:
  coview prepare --list
  coview prepare --remove 16fps-128px-16000Hz-q90-1a2b3c4d
  coview prepare --remove all
"""


@dataclass(kw_only=True)
class Stored:
    """What is asked about stored films."""

    list: bool = False
    """Say what is stored, how large it is, and when a run last began to read it."""
    remove: str | None = None
    """Remove what is stored under this name; all: everything."""
    json: bool = False
    """Print the result as JSON on stdout."""


def stored_films(argv: list[str]) -> int:
    """List or remove what is stored, and return the exit code."""
    arguments = tyro.cli(Stored, args=argv, prog="coview prepare", description=DESCRIPTION)
    from coview.data.shards.films import cuts, default_folder, remove

    root, out = default_folder(), Output(json=arguments.json)
    if arguments.remove is not None:
        removed = remove(root, arguments.remove)
        out.result({"folder": str(root), "removed": [cut.folder.name for cut in removed], **_sums(removed)})
        return 0
    there = list(cuts(root))
    if arguments.json:
        out.result({"folder": str(root), "stored": [_entry(cut) for cut in there]})
        return 0
    out.result({"folder": str(root), **_sums(there)} | {cut.folder.name: _line(cut) for cut in there})
    return 0


def _sums(some: list[Cut]) -> dict[str, int]:
    return {"clips": sum(cut.clips for cut in some), "bytes": sum(cut.bytes for cut in some)}


def _entry(cut: Cut) -> dict[str, object]:
    about = {"name": cut.folder.name, "clips": cut.clips, "bytes": cut.bytes, "used": _date(cut)}
    return about | {"settings": cut.settings}


def _line(cut: Cut) -> str:
    return f"{cut.clips} clips, {cut.bytes / 1e6:.1f} MB, last read {_date(cut)}"


def _date(cut: Cut) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(cut.used))
