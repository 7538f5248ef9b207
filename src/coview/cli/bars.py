"""Progress bars for functions that report (what is being done, done, total)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coview.cli.output import Output


@contextmanager
def bars(out: Output) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows a bar for each thing that is being done."""
    with out.progress() as progress:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total, note="")
            progress.update(tasks[what], completed=done, total=total)

        yield show
