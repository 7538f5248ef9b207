"""`coview methods`: which methods there are, what they learn from, and how far each is verified."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from coview.cli.output import Output, cells

DESCRIPTION = """List the methods: paper, family, views, how the loss ties samples across processes, state.

Examples:
  coview methods
  coview methods --json
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    json: bool = False
    """Print the list as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview methods", description=DESCRIPTION, args=argv)
    rows = describe()
    if arguments.json:
        Output(json=True).result({"methods": rows})
        return 0
    table = Table(box=None, header_style="bold")
    for heading in ("method", "title", "family", "views", "coupling", "state", "paper"):
        table.add_column(heading, no_wrap=heading == "method")
    for row in rows:
        views = ", ".join(row["views"])
        about = (row["title"], row["family"], views, row["coupling"], row["state"], row["paper"])
        table.add_row(*cells(row["name"], *about))
    Console(file=sys.stdout, highlight=False).print(table)
    return 0


def describe() -> list[dict[str, Any]]:
    """Return a row per method, built with its smallest settings (views and coupling can depend on them)."""
    from coview.methods import METHODS, build, load_method
    from coview.methods.contract import Facts

    rows: list[dict[str, Any]] = []
    for slug in sorted(METHODS):
        kind = load_method(slug)
        method = build(slug, kind.Settings.tiny(), Facts(rows=16, classes=2))
        about = kind.about
        rows.append(
            {
                "name": slug,
                "title": about.title,
                "paper": about.paper,
                "family": about.family,
                "views": list(method.views),
                "coupling": method.coupling,
                "state": about.state,
            }
        )
    return rows
