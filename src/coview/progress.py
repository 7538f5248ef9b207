"""Progress: the one bar that commands and the training loop draw on a terminal, and lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress_bar(console: Console) -> Progress:
    """Return a bar that draws on `console`, and only on a terminal; every task has a description and a `note`."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        disable=console.quiet or not console.is_terminal,
    )


class Lines:
    """What long steps say where nothing can be drawn: how much is done, of how much, and the time that is left.

    Args:
        say: prints a line.
        every: seconds between two lines; a step that takes less says nothing.
        clock: seconds, as a test may count them.
    """

    def __init__(
        self, say: Callable[[str], None], every: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say, self._every, self._clock = say, every, clock
        self._begun: dict[str, tuple[float, int]] = {}
        self._last: dict[str, float] = {}
        self._done: dict[str, int] = {}

    def show(self, what: str, done: int, total: int) -> None:
        """Take note that `done` of `total` are done, and say so if it is time."""
        now = self._clock()
        if done < self._done.get(what, done):  # once more from the beginning, of another model or seed
            del self._begun[what], self._last[what]
        self._done[what] = done
        began, first = self._begun.setdefault(what, (now, done))
        if now - self._last.setdefault(what, now) < self._every or done >= total:
            return
        self._last[what] = now
        left = f", about {duration((total - done) * (now - began) / (done - first))} left" if done > first else ""
        self._say(f"{what}: {done:,} of {total:,}{left}")


def duration(seconds: float) -> str:
    """Return a time as people say it: "40 seconds", "3 minutes", "2.5 hours"."""
    if seconds < 90:
        return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
