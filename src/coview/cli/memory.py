"""How much memory a command and the processes that it starts hold together."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path
from types import TracebackType

_SECONDS = 0.5  # between two looks


class PeakMemory:
    """A context that notes the most memory this process and all of its descendants hold at one moment.

    Where the system tells (Linux), the sum of the proportional set sizes, looked at twice a second: what several
    processes share, such as libraries and memory-mapped files, is counted once, its parts added up. Elsewhere a bound:
    this process's own peak and, for each of `at_once` others, the highest peak of any process that has ended.

    Attributes:
        measure: what `gigabytes` is: "proportional set sizes" or "bound of resident sets".
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self._most = held_together()
        self.measure = "proportional set sizes" if self._most else "bound of resident sets"
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watch.join()

    @property
    def gigabytes(self) -> float:
        """The most so far, in units of 10^9 bytes."""
        if self._most:
            return self._most / 1e9
        own, others = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return (own + self.at_once * others) * (1 if sys.platform == "darwin" else 1024) / 1e9

    def _look(self) -> None:
        while not self._ended.wait(_SECONDS):
            self._most = max(self._most, held_together())


def held_together() -> int:
    """Return the proportional set sizes of this process and its descendants in bytes; 0 where none can be read."""
    return sum(map(_proportional, _family(os.getpid())))


def _family(root: int) -> set[int]:
    """Return a process and everything it has started, directly or not."""
    parents = {pid: _parent(pid) for pid in (int(p.name) for p in Path("/proc").glob("[0-9]*"))}
    family = {root}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return family


def _parent(pid: int) -> int:
    try:
        # The name before the closing bracket may hold anything, spaces too.
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return 0


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended, or this system has no such file
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
