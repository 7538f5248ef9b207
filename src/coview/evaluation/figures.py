"""Figures of the report as SVG text that takes its colour of ink from the page, in light and in dark."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from coview.evaluation.statistics import Measurement

PALETTE = ("#4f7fd9", "#e0813a", "#3f9d6b", "#c9504c", "#8a6cc4", "#a8795c", "#d677b5", "#8b9199", "#b3a33c", "#36a5b5")
_INK = "#010203"  # stands for the page's own ink, replaced after drawing
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "coview",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}

Curve = tuple[Sequence[float], Sequence[float]]


def curves(lines: Mapping[str, Curve], label: str, reference: tuple[str, float] | None = None) -> str:
    """Draw named lines (steps, values) over the steps; `reference` is a dashed level with its name."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 2.7), layout="constrained")
        axes = figure.subplots()
        for (name, (steps, values)), colour in zip(lines.items(), PALETTE, strict=False):
            axes.plot(steps, values, color=colour, label=name, marker="o" if len(values) < 3 else None, markersize=4)
        if reference is not None:
            axes.axhline(reference[1], color=PALETTE[7], linestyle=(0, (4, 3)), linewidth=1, label=reference[0])
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        if label in ("samples/s", "share", "accuracy"):
            axes.set_ylim(0, 1.1 * max((value for _, values in lines.values() for value in values), default=1.0) or 1.0)
        axes.grid(axis="y", color=PALETTE[7], alpha=0.25, linewidth=0.5)
        if len(lines) + (reference is not None) > 1:
            axes.legend(frameon=False, fontsize=9)
        return _svg(figure)


def bars(groups: Mapping[str, Sequence[Measurement]]) -> str:
    """Draw a bar with its interval for each measurement, grouped by what was measured, and the level of chance."""
    rows = [(what, m) for what, group in groups.items() for m in group]
    models = list(dict.fromkeys(m.name.partition("/")[2] for _, m in rows))
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.4, 0.5 + 0.25 * len(rows) + 0.3 * len(groups)), layout="constrained")
        axes = figure.subplots()
        place, ticks = 0.0, []
        for what, group in groups.items():
            for index, m in enumerate(group):
                name = m.name.partition("/")[2]
                colour = PALETTE[models.index(name) % len(PALETTE)]
                axes.barh(place, m.value, height=0.74, color=colour, alpha=0.85)
                if m.low is not None and m.high is not None:
                    axes.plot([m.low, m.high], [place, place], color=_INK, linewidth=1.1, solid_capstyle="butt")
                end = max(m.value, m.high or 0)
                axes.text(end + 0.008, place, f"{m.value:.3f}  {name}", va="center", fontsize=9)
                if m.chance is not None:
                    reach = [place - 0.5, place + 0.5]
                    axes.plot([m.chance, m.chance], reach, color=_INK, linewidth=1, linestyle=(0, (2, 2)))
                if index == 0:
                    ticks.append((place + (len(group) - 1) / 2, what))
                place += 1
            place += 0.9
        axes.set_yticks([at for at, _ in ticks], [what for _, what in ticks])
        axes.invert_yaxis()
        axes.set_xlim(0, 1.18)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.tick_params(axis="y", length=0)
        return _svg(figure)


def scatter(points: Tensor, labels: Tensor, classes: Sequence[str], title: str) -> str:
    """Draw points (N, 2), coloured by label where there are any; the nine most frequent classes get colours."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.7, 4.1), layout="constrained")
        axes = figure.subplots()
        (x, y), known = points.T.numpy(), labels.numpy()
        found, counts = np.unique(known[known >= 0], return_counts=True)
        shown = sorted(found[np.argsort(-counts, kind="stable")][: 10 if len(found) <= 10 else 9].tolist())
        rest = ~np.isin(known, shown)
        if rest.any():
            name = "other" if shown else None
            axes.scatter(x[rest], y[rest], s=12, color=PALETTE[7], linewidths=0, alpha=0.7, label=name, rasterized=True)
        for label, colour in zip(shown, (*PALETTE[:7], *PALETTE[8:], PALETTE[7]), strict=False):
            mine = known == label
            axes.scatter(
                x[mine], y[mine], s=14, color=colour, linewidths=0, label=str(classes[label])[:24], rasterized=True
            )
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
        if shown:
            axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.1)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, dpi=150, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace(_INK, "currentColor")
    return text[text.index("<svg") :]
