"""The figure of a comparison: the probes with their intervals, and the nearest neighbours on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coview.comparison.table import Line, Outcome, columns_of


def draw(lines: Sequence[Line], outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a figure (SVG or PNG by the name): the probes with intervals, and the nearest neighbours on the way."""
    from matplotlib.figure import Figure

    columns = columns_of(name for line in lines for name in line.figures)
    shown = list(columns)[:4]
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
        axes.set(title=columns[name], xlim=(0, 1.02), ylim=(len(lines) - 0.5, -0.5))
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
