"""What a command says: talk goes to stderr, results to stdout, as a table or as JSON; names are shown, never obeyed."""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from coview.errors import UNSHOWN, shown
from coview.progress import Lines, progress_bar

FIRST = 10  # problems that are printed; JSON has all of them


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
        self.console.print(shown(text, lines=True), markup=False)

    def next(self, *words: object) -> None:
        """Say which command comes next, ready to be copied; not where a machine reads."""
        if not self.json:
            self.say(f"Next: {shlex.join(map(str, words))}")

    def progress(self) -> Progress:
        """Return a progress bar that draws on stderr, and only on a terminal."""
        return progress_bar(self.console)

    @contextmanager
    def steps(self) -> Iterator[Callable[[str, int, int], None]]:
        """Yield a function to call with (what is being done, done, total); each `what` gets a bar of its own.

        Where stderr is no terminal, what takes long says from time to time how much is left.
        """
        if not self.console.is_terminal:
            yield Lines(self.say).show
            return
        with self.progress() as bars:
            tasks: dict[str, TaskID] = {}
            reached: dict[str, int] = {}

            def show(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(shown(what), total=total, note="")
                elif done < reached[what]:  # once more from the beginning, of another model or seed
                    bars.reset(tasks[what])
                reached[what] = done
                bars.update(tasks[what], completed=done, total=total)

            yield show

    def result(self, result: dict[str, Any]) -> None:
        """Print the result: all of it as JSON, or the table of `results` and the other entries as lines."""
        if self.quiet:
            return
        if self.json:
            sys.stdout.write(as_json(result) + "\n")
            return
        console = Console(highlight=False, soft_wrap=True, emoji=False)
        for name, value in result.items():
            if name != "results" and (text := in_words(value)):
                console.print(shown(f"{plain(name)}: {text}", lines=True), markup=False)
        if result.get("results"):
            console.print(measurement_table(result["results"]))

    def finish(self, result: dict[str, Any], problems: Sequence[tuple[str, str]]) -> int:
        """Print the result and what could not be read, and return the exit code: 3 where there are problems, else 0.

        Args:
            problems: (recording or file, reason) each; the first few are said, all are in the JSON.
        """
        listed = [{"recording": name, "reason": reason} for name, reason in problems]
        self.result({**result, "problems": listed} if self.json else result)
        if not problems:
            return 0
        self.say(f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the data:")
        for name, reason in problems[:FIRST]:
            self.say(f"  {shown(name)}: {reason}")
        if len(problems) > FIRST:
            self.say(f"  and {len(problems) - FIRST} more" + ("" if self.json else "; --json lists them all"))
        return 3


def in_words(value: Any) -> str:
    """Return a result as people read it: "3 films, 2 stills" for {"films": 3, "stills": 2}; "" for nothing."""
    if isinstance(value, dict):
        return ", ".join(_named(plain(name), item) for name, item in value.items() if in_words(item))
    if isinstance(value, (list, tuple)):
        return ", ".join(filter(None, map(in_words, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def plain(name: object) -> str:
    """Return the name of an entry as people read it."""
    return shown(str(name).replace("_", " "))


def _named(name: str, value: Any) -> str:
    """Return "3 films" for a number, "films a.mp4" for words, "films (2 long, 1 short)" for several things."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{in_words(value)} {name}"
    return f"{name} ({in_words(value)})" if isinstance(value, dict) else f"{name} {in_words(value)}"


def as_json(result: Any) -> str:
    """Return JSON in which numbers that are not finite are null, and no character can steer a terminal."""
    text = json.dumps(_finite(result), indent=2, ensure_ascii=False, allow_nan=False)
    # json itself escapes what lies below a space; what is left of UNSHOWN can only stand inside of strings.
    return UNSHOWN.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def cells(*values: object) -> list[Text]:
    """Return the cells of a table's row: shown as they are, whatever they contain."""
    return [Text(shown(value)) for value in values]


def measurement_table(results: list[dict[str, Any]]) -> Table:
    """Return the rows `{name, value, low, high, chance, n, seeds}` as a table."""
    table = Table(box=None, header_style="bold")
    for heading in ("measurement", "value", "95 % interval", "chance", "n", "seeds"):
        table.add_column(heading, justify="left" if heading == "measurement" else "right", no_wrap=True)
    for row in results:
        interval = f"{_number(row['low'])} to {_number(row['high'])}" if row.get("low") is not None else "-"
        numbers = (_number(row["value"]), interval, _number(row.get("chance")), row["n"], row["seeds"])
        table.add_row(*cells(row["name"], *numbers))
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
