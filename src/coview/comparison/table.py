"""Several methods side by side: means over seeds, one table, and what is to be said of it.

What a comparison rests on: every run has seen the same number of samples, was measured on the same test recordings, and
stands beside random weights, shuffled pairs and supervision.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from coview.errors import UsageError
from coview.evaluation.measurable import common
from coview.evaluation.statistics import Measurement, Z, over_seeds
from coview.evaluation.verdict import verdict

# Figure -> heading, after a column for every probe; a column without any value is left out.
_RETRIEVAL = {
    "class_p1_v2a": "class P@1 v to a",
    "class_p1_a2v": "class P@1 a to v",
    "retrieval_v2a_r1": "pair R@1 v to a",
    "retrieval_a2v_r1": "pair R@1 a to v",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One finished run.

    Attributes:
        row: what the table calls it, such as "xid" or "xid, shuffled".
        seed: of the weights and the order.
        results: its figures, plain rows of `Measurement`.
        items: name of a figure -> what each test item contributed to it (see `Measurement.items`).
        samples, seconds: how much it trained.
        curve: [{"samples": ..., "knn/video": ...}, ...] on the way.
        note: why it was not run, or failed; then it has no figures.
        failed: it should have been possible: an error, and no choice of method and data.
        plateau: the sentence of a run that never left chance.
        idle: share of its steps that had nothing to learn from.
        problems: what could not be read or measured, and what the test part shares with the training part.
        weights: digest of the weights that were measured.
    """

    row: str
    seed: int
    results: list[dict[str, Any]] = field(default_factory=list)
    items: dict[str, Tensor] = field(default_factory=dict, compare=False, repr=False)
    samples: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    note: str = ""
    failed: bool = False
    plateau: str | None = None
    idle: float = 0.0
    problems: list[tuple[str, str]] = field(default_factory=list)
    weights: str | None = None

    def figures(self) -> dict[str, Measurement]:
        """Return the figures by what was measured."""
        return {
            str(fields["name"]).partition("/")[0]: Measurement(**fields, items=self.items.get(str(fields["name"])))
            for fields in self.results
        }


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table: means over seeds by figure; `left` of `runs` seeds left the plateau of chance."""

    row: str
    figures: dict[str, Measurement]
    samples: int
    seconds: float
    note: str = ""
    failed: bool = False
    runs: int = 0
    left: int = 0
    idle: float = 0.0


def columns_of(names: Iterable[str]) -> dict[str, str]:
    """Return figure -> heading of the columns of a table, of the names of figures: probes as they come, retrieval."""
    found = dict.fromkeys(names)
    probes = {name: f"{name.removesuffix('_probe')} probe" for name in found if name.endswith("_probe")}
    return probes | {name: text for name, text in _RETRIEVAL.items() if name in found}


def summarise(outcomes: Iterable[Outcome]) -> list[Line]:
    """Return a line per row, in the order in which rows first appear."""
    rows: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.row, []).append(outcome)
    return [_line(row, members) for row, members in rows.items()]


def _line(row: str, members: Sequence[Outcome]) -> Line:
    done = [member for member in members if member.results]
    shared, _ = common([[_renamed(m, row) for m in member.figures().values()] for member in done])
    return Line(
        row=row,
        figures={same[0].name.partition("/")[0]: over_seeds(same) for same in shared},
        samples=max((member.samples for member in members), default=0),
        seconds=sum(member.seconds for member in done) / max(len(done), 1),
        note="; ".join(sorted({member.note for member in members if member.note})),
        failed=any(member.failed for member in members),
        runs=len(done),
        left=sum(member.plateau is None for member in done),
        idle=max((member.idle for member in done), default=0.0),
    )


def _renamed(measurement: Measurement, row: str) -> Measurement:
    return dataclasses.replace(measurement, name=f"{measurement.name.partition('/')[0]}/{row}")


def said_of(lines: Sequence[Line]) -> list[str]:
    """Return the verdict on a comparison, plain sentences."""
    signs = []
    for line in lines:
        if line.left < line.runs:
            signs.append(
                f"{line.row}: {line.left} of {line.runs} seeds left the plateau of chance; a mean over runs of two "
                "kinds stands for neither, and few seeds do not tell how often each happens."
            )
        if line.idle:
            signs.append(f"{line.row}: up to {line.idle:.0%} of the steps of a run had nothing to learn from.")
        if line.failed:
            signs.append(f"{line.row} failed: {line.note}")
    return verdict([figure for line in lines for figure in line.figures.values()], signs)


def to_markdown(lines: Sequence[Line]) -> str:
    """Return the table for people; values with their 95 % intervals."""
    columns = columns_of(name for line in lines for name in line.figures)
    chance = {name: next(line.figures[name].chance for line in lines if name in line.figures) for name in columns}
    head = ["method", *columns.values(), "seeds", "samples", "training seconds"]
    table = [head, ["---"] * len(head)]
    levels = ["" if (level := chance[name]) is None else f"{level:.3f}" for name in columns]
    table.append(["chance", *levels, "", "", ""])
    for line in lines:
        cells = [_cell(line.figures.get(name)) for name in columns]
        seeds = str(max((figure.seeds for figure in line.figures.values()), default=0))
        if line.left < line.runs:
            seeds = f"{seeds}, {line.left} of them left the plateau"
        if line.note and not line.figures:
            said = " ".join(line.note.replace("|", "\\|").split())  # in one cell
            why = f"{'failed' if line.failed else 'not run'}: {said}"
            cells, seeds = ([why, *cells[1:]], seeds) if cells else ([], why)
        table.append([line.row, *cells, seeds, f"{line.samples:,}", f"{line.seconds:.0f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in table) + "\n"


def _cell(figure: Measurement | None) -> str:
    if figure is None or figure.low is None or figure.high is None:
        return "" if figure is None else f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def orders(outcomes: Iterable[Outcome], pairs: Sequence[tuple[str, str]]) -> list[Measurement]:
    """Return how much one row surpasses another: every figure of the table that both have, for every (upper, lower).

    Differences are taken seed by seed, and item by item where the runs kept what each test item contributed, and then
    averaged (`over_seeds`).

    Raises:
        UsageError: a row that is not there.
    """
    runs = {(outcome.row, outcome.seed): outcome.figures() for outcome in outcomes}
    rows = list(dict.fromkeys(row for row, _ in runs))
    if missing := sorted({row for pair in pairs for row in pair} - set(rows)):
        raise UsageError(f"no run is called {', '.join(missing)}; there are {', '.join(rows)}")
    found = []
    for upper, lower in pairs:
        seeds = [seed for row, seed in runs if row == upper and (lower, seed) in runs]
        for figure in columns_of(name for seed in seeds for name in runs[upper, seed]):
            both = [(runs[upper, seed].get(figure), runs[lower, seed].get(figure)) for seed in seeds]
            gains = [_gain(f"{figure}/{upper} > {lower}", a, b) for a, b in both if a and b]
            if gains:
                found.append(over_seeds(gains, signed=True))
    return found


def _gain(name: str, upper: Measurement, lower: Measurement) -> Measurement:
    gain, n = upper.value - lower.value, min(upper.n, lower.n)
    if upper.items is not None and lower.items is not None and upper.items.shape == lower.items.shape:
        items = upper.items.double() - lower.items.double()
        half = Z * float(items.std()) / math.sqrt(n) if n > 1 else 0.0
        if half > 0:
            return Measurement(name, gain, gain - half, gain + half, 0.0, n, items=items)
    # Without pairs of answers the two runs count as independent, which is wider than needed.
    halves = [(m.high - m.low) / 2 if m.low is not None and m.high is not None else 0.0 for m in (upper, lower)]
    half = math.hypot(*halves)
    return Measurement(name, gain, gain - half, gain + half, 0.0, n)


def orders_to_markdown(gains: Sequence[Measurement]) -> str:
    """Return the table of differences; an order holds, or is reversed, where the interval leaves 0 out."""
    columns = columns_of(gain.name.partition("/")[0] for gain in gains)
    table = [["expected", *columns.values()], ["---"] * (len(columns) + 1)]
    for name in dict.fromkeys(gain.name.partition("/")[2] for gain in gains):
        own = {gain.name.partition("/")[0]: gain for gain in gains if gain.name.partition("/")[2] == name}
        table.append([name, *(_verdict(own.get(figure)) for figure in columns)])
    return "\n".join("| " + " | ".join(row) + " |" for row in table) + "\n"


def _verdict(gain: Measurement | None) -> str:
    if gain is None or gain.low is None or gain.high is None:
        return ""
    verdict = "holds" if gain.low > 0 else "reversed" if gain.high < 0 else "open"
    return f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) {verdict}"


def plain(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the figures of all lines as rows of plain data."""
    return [figure.row() for line in lines for figure in line.figures.values()]
