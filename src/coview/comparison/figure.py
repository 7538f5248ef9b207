"""The figure of a comparison: the probes with their intervals, and the nearest neighbours on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coview.comparison.table import Line, Outcome, columns_of
from coview.evaluation.verdict import is_control

# The best rows have a colour, a shape and a line of their own; all others and the controls are grey.
LOOKS = (("#2f62c4", "o", "-"), ("#d1691c", "s", "--"), ("#2b8554", "^", "-."), ("#b8403c", "D", ":"))
GREY = "0.6"
_CONTROL = "0.75"


def draw(lines: Sequence[Line], outcomes: Sequence[Outcome], path: Path) -> None:
    """Write a figure (SVG or PNG by the name): the probes with intervals, and the nearest neighbours on the way.

    The rows that are best in the first column, four at most, stand out by colour and shape; the rest is grey.
    """
    from matplotlib.figure import Figure

    columns = columns_of(name for line in lines for name in line.figures)
    shown = list(columns)[:4]
    views = sorted({name for outcome in outcomes for point in outcome.curve for name in point if name != "samples"})
    figure = Figure(figsize=(4.2 * max(len(shown), 1), 0.28 * len(lines) + 1.6 + (3.4 if views else 0)))
    grid = figure.add_gridspec(2 if views else 1, max(len(shown), 1), height_ratios=[1, 1] if views else [1])
    looks = dict(zip(best(lines, shown[0]) if shown else [], LOOKS, strict=False))
    for place, name in enumerate(shown):
        axes = figure.add_subplot(grid[0, place])
        for height, line in enumerate(lines):
            value = line.figures.get(name)
            if value is None:
                continue
            colour, marker, _ = looks.get(line.row, (_CONTROL if is_control(line.row) else GREY, "o", ""))
            if value.low is not None and value.high is not None:
                axes.plot([value.low, value.high], [height, height], color=colour, linewidth=2, alpha=0.5)
            axes.plot(value.value, height, marker, color=colour, markersize=6 if line.row in looks else 4)
            if value.chance is not None:
                axes.axvline(value.chance, color="0.8", linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
        axes.set(title=columns[name], xlim=(0, 1.02), ylim=(len(lines) - 0.5, -0.5))
        axes.set_yticks(range(len(lines)), [line.row for line in lines] if place == 0 else [""] * len(lines))
        for label, line in zip(axes.get_yticklabels(), lines, strict=True):
            label.set_color(looks[line.row][0] if line.row in looks else "0.35")
    known: dict[str, Any] = {}
    for place, view in enumerate(views[: len(shown)]):
        axes = figure.add_subplot(grid[1, place])
        for outcome in sorted(outcomes, key=lambda outcome: outcome.row in looks):  # those in colour on top
            points = [(point["samples"] / 1000, point[view]) for point in outcome.curve if view in point]
            if points and "," not in outcome.row:  # controls would hide what is compared
                colour, marker, dash = looks.get(outcome.row, (GREY, "", "-"))
                row = (outcome.row if outcome.row in looks else "others") if outcome.seed == 0 else None
                axes.plot(
                    *zip(*points, strict=True), color=colour, linestyle=dash, label=row, marker=marker, markersize=4,
                    linewidth=1.4 if outcome.row in looks else 0.8,
                )  # fmt: skip
        axes.set(title=f"{view} on training recordings", xlabel="thousand samples seen", ylim=(0, 1.02))
        known |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if known:
        known = {name: known[name] for name in sorted(known, key=[*looks, "others"].index)}
        figure.legend(known.values(), known.keys(), loc="lower right", bbox_to_anchor=(0.95, 0.1), fontsize=9, ncols=3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def best(lines: Sequence[Line], column: str) -> list[str]:
    """Return the rows that are highest in a column, best first; controls are none of them."""
    own = [(line.figures[column].value, line.row) for line in lines if column in line.figures]
    return [row for _, row in sorted(own, key=lambda found: -found[0]) if not is_control(row)][: len(LOOKS)]
