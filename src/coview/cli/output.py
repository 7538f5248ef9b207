"""What a command says: talk goes to stderr, results to stdout, as a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from coview.progress import progress_bar


class Output:
    """The two channels of one command.

    Args:
        json: print results as one JSON object on stdout instead of tables.
        quiet: no talk at all, as on processes other than the first.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True, emoji=False)

    def say(self, text: str) -> None:
        """Print a line for people."""
        self.console.print(text, markup=False)

    def progress(self) -> Progress:
        """Return a progress bar that draws on stderr, and only on a terminal."""
        return progress_bar(self.console)

    @contextmanager
    def steps(self) -> Iterator[Callable[[str, int, int], None]]:
        """Yield a function to call with (what is being done, done, total); each `what` gets a bar of its own."""
        with self.progress() as bars:
            tasks: dict[str, TaskID] = {}

            def show(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total, note="")
                bars.update(tasks[what], completed=done, total=total)

            yield show

    def result(self, result: dict[str, Any]) -> None:
        """Print the result: all of it as JSON, or the table of `results` and the other entries as lines."""
        if self.quiet:
            return
        if self.json:
            sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
            return
        console = Console(highlight=False, soft_wrap=True, emoji=False)
        for name, value in result.items():
            if name != "results":
                console.print(f"{name}: {value}", markup=False)
        if result.get("results"):
            console.print(measurement_table(result["results"]))


def measurement_table(results: list[dict[str, Any]]) -> Table:
    """Return the rows `{name, value, low, high, chance, n, seeds}` as a table."""
    table = Table(box=None, header_style="bold")
    for heading in ("measurement", "value", "95 % interval", "chance", "n", "seeds"):
        table.add_column(heading, justify="left" if heading == "measurement" else "right", no_wrap=True)
    for row in results:
        interval = f"{_number(row['low'])} to {_number(row['high'])}" if row.get("low") is not None else "-"
        cells = (_number(row["value"]), interval, _number(row.get("chance")), str(row["n"]), str(row["seeds"]))
        table.add_row(row["name"], *cells)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
