"""Several methods side by side: means over seeds, one table, one figure.

What a comparison rests on: every run has seen the same number of samples, was measured on the same test recordings, and
stands beside random weights, shuffled pairs and supervision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coview.errors import UsageError
from coview.evaluation.statistics import Measurement, over_seeds

# Figure -> heading; a column without any value is left out.
COLUMNS = {
    "video_probe": "video probe",
    "audio_probe": "audio probe",
    "image_probe": "image probe",
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
        samples, seconds: how much it trained.
        curve: [{"samples": ..., "knn/video": ...}, ...] on the way.
        note: why it was not run; then it has no figures.
    """

    row: str
    seed: int
    results: list[dict[str, Any]] = field(default_factory=list)
    samples: int = 0
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table: means over seeds by figure."""

    row: str
    figures: dict[str, Measurement]
    samples: int
    seconds: float
    note: str = ""


def summarise(outcomes: Iterable[Outcome]) -> list[Line]:
    """Return a line per row, in the order in which rows first appear."""
    rows: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        rows.setdefault(outcome.row, []).append(outcome)
    return [_line(row, members) for row, members in rows.items()]


def _line(row: str, members: Sequence[Outcome]) -> Line:
    done = [member for member in members if member.results]
    found: dict[str, list[Measurement]] = {}
    for member in done:
        for fields in member.results:
            figure = str(fields["name"]).partition("/")[0]
            found.setdefault(figure, []).append(Measurement(**{**fields, "name": f"{figure}/{row}"}))
    return Line(
        row=row,
        figures={name: over_seeds(same) for name, same in found.items() if len(same) == len(done)},
        samples=max((member.samples for member in members), default=0),
        seconds=sum(member.seconds for member in done) / max(len(done), 1),
        note="; ".join(sorted({member.note for member in members if member.note})),
    )


def to_markdown(lines: Sequence[Line]) -> str:
    """Return the table for people; values with their 95 % intervals."""
    columns = {name: text for name, text in COLUMNS.items() if any(name in line.figures for line in lines)}
    chance = {name: next(line.figures[name].chance for line in lines if name in line.figures) for name in columns}
    head = ["method", *columns.values(), "seeds", "samples", "training seconds"]
    table = [head, ["---"] * len(head)]
    table.append(["chance", *(f"{chance[name] or 0:.3f}" for name in columns), "", "", ""])
    for line in lines:
        cells = [_cell(line.figures.get(name)) for name in columns]
        seeds = max((figure.seeds for figure in line.figures.values()), default=0)
        if line.note and not line.figures:
            cells[0] = f"not run: {line.note}" if cells else line.note
        table.append([line.row, *cells, str(seeds), f"{line.samples:,}", f"{line.seconds:.0f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in table) + "\n"


def _cell(figure: Measurement | None) -> str:
    return "" if figure is None else f"{figure.value:.3f} ({figure.low:.3f}-{figure.high:.3f})"


def orders(outcomes: Iterable[Outcome], pairs: Sequence[tuple[str, str]]) -> list[Measurement]:
    """Return how much one row surpasses another: every figure of COLUMNS that both have, for every (upper, lower).

    Differences are taken seed by seed and then averaged; the interval covers the seed and the test items, those of the
    two runs as if independent, which is wider than needed.

    Raises:
        UsageError: a row that is not there.
    """
    runs = {(outcome.row, outcome.seed): _by_figure(outcome) for outcome in outcomes}
    rows = list(dict.fromkeys(row for row, _ in runs))
    if missing := sorted({row for pair in pairs for row in pair} - set(rows)):
        raise UsageError(f"no run is called {', '.join(missing)}; there are {', '.join(rows)}")
    found = []
    for upper, lower in pairs:
        seeds = [seed for row, seed in runs if row == upper and (lower, seed) in runs]
        for figure in COLUMNS:
            both = [(runs[upper, seed].get(figure), runs[lower, seed].get(figure)) for seed in seeds]
            gains = [_gain(f"{figure}/{upper} > {lower}", a, b) for a, b in both if a and b]
            if gains:
                found.append(over_seeds(gains, signed=True))
    return found


def _by_figure(outcome: Outcome) -> dict[str, Measurement]:
    return {str(fields["name"]).partition("/")[0]: Measurement(**fields) for fields in outcome.results}


def _gain(name: str, upper: Measurement, lower: Measurement) -> Measurement:
    halves = [(m.high - m.low) / 2 if m.low is not None and m.high is not None else 0.0 for m in (upper, lower)]
    gain, half = upper.value - lower.value, math.hypot(*halves)
    return Measurement(name, gain, gain - half, gain + half, 0.0, min(upper.n, lower.n))


def orders_to_markdown(gains: Sequence[Measurement]) -> str:
    """Return the table of differences; an order holds, or is reversed, where the interval leaves 0 out."""
    table = [["expected", *COLUMNS.values()]]
    table.append(["---"] * len(table[0]))
    for name in dict.fromkeys(gain.name.partition("/")[2] for gain in gains):
        own = {gain.name.partition("/")[0]: gain for gain in gains if gain.name.partition("/")[2] == name}
        table.append([name, *(_verdict(own.get(figure)) for figure in COLUMNS)])
    kept = [place for place in range(len(table[0])) if any(row[place] for row in table[2:])]
    return "\n".join("| " + " | ".join(row[place] for place in kept) + " |" for row in table) + "\n"


def _verdict(gain: Measurement | None) -> str:
    if gain is None or gain.low is None or gain.high is None:
        return ""
    verdict = "holds" if gain.low > 0 else "reversed" if gain.high < 0 else "open"
    return f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f}) {verdict}"


def draw(lines: Sequence[Line], outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a figure (SVG or PNG by the name): the probes with intervals, and the nearest neighbours on the way."""
    from matplotlib.figure import Figure

    shown = [name for name in COLUMNS if any(name in line.figures for line in lines)][:4]
    views = sorted({name for outcome in outcomes for point in outcome.curve for name in point if name != "samples"})
    figure = Figure(figsize=(4.2 * max(len(shown), 1), 0.28 * len(lines) + 1.6 + (3.4 if views else 0)))
    grid = figure.add_gridspec(2 if views else 1, max(len(shown), 1), height_ratios=[1, 1] if views else [1])
    names = [line.row for line in lines]
    for place, name in enumerate(shown):
        axes = figure.add_subplot(grid[0, place])
        for height, line in enumerate(lines):
            value = line.figures.get(name)
            if value is not None:
                if value.low is not None and value.high is not None:
                    axes.plot([value.low, value.high], [height, height], color="0.6", linewidth=2)
                axes.plot(value.value, height, "o", color=_colour(line.row, names), markersize=5)
                if value.chance is not None:
                    axes.axvline(value.chance, color="0.8", linewidth=0.8, zorder=0)
        axes.set(title=COLUMNS[name], xlim=(0, 1.02), ylim=(len(lines) - 0.5, -0.5))
        axes.set_yticks(range(len(lines)), names if place == 0 else [""] * len(lines))
    known: dict[str, Any] = {}
    for place, view in enumerate(views[: len(shown)]):
        axes = figure.add_subplot(grid[1, place])
        for outcome in outcomes:
            points = [(point["samples"], point[view]) for point in outcome.curve if view in point]
            if points and "," not in outcome.row:  # controls would hide what is compared
                label = outcome.row if outcome.seed == 0 else None
                axes.plot(
                    *zip(*((seen / 1000, value) for seen, value in points), strict=True),
                    color=_colour(outcome.row, names),
                    linewidth=1,
                    label=label,
                )
        axes.set(title=f"{view} on training recordings", xlabel="thousand samples seen", ylim=(0, 1.02))
        known |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if known:
        figure.legend(known.values(), known.keys(), loc="lower right", bbox_to_anchor=(0.95, 0.1), fontsize=9, ncols=3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _colour(row: str, rows: Sequence[str]) -> Any:
    from matplotlib import colormaps

    return colormaps["tab20"](rows.index(row) % 20) if "," not in row else "0.5"


def plain(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Return the figures of all lines as rows of plain data."""
    return [figure.row() for line in lines for figure in line.figures.values()]
