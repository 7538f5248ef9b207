"""What the loop shows while it runs: a bar on a terminal, plain lines elsewhere, nothing on other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console

from coview.errors import shown
from coview.progress import duration, progress_bar

LINE_SECONDS = 10.0  # between plain lines


class Display:
    """A context in which steps are shown on stderr; `say` prints a line above the bar.

    Args:
        total: steps of the run; `done` of them are behind it.
        quiet: show nothing, as on processes other than the first.
    """

    def __init__(self, total: int, done: int, *, quiet: bool) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.total = total
        self.bar = progress_bar(self.console)
        self.task = self.bar.add_task("steps", total=total, completed=done, note="")
        self._spoken = time.monotonic() - LINE_SECONDS
        self._begun: tuple[float, int] | None = None  # when a step was said first, and which

    def __enter__(self) -> Display:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(shown(text, lines=True), markup=False, emoji=False, soft_wrap=True)

    def step(self, done: int, note: Callable[[], str]) -> None:
        """Show that `done` steps are behind us; the note is only made when it will be seen."""
        now = time.monotonic()
        if self.console.is_terminal:
            self.bar.update(self.task, completed=done, note=shown(note()))
        elif now - self._spoken >= LINE_SECONDS or done == self.total:
            self._spoken = now
            self.say(f"step {done}/{self.total}  {note()}{self._left(now, done)}")

    def _left(self, now: float, done: int) -> str:
        if self._begun is None:
            self._begun = now, done
        began, first = self._begun
        if not first < done < self.total:
            return ""
        return f"  about {duration((self.total - done) * (now - began) / (done - first))} left"
