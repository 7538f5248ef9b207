"""Figures of the pages as SVG text that takes its colour of ink from the page, in light and in dark.

Drawn here and not by a plotting library: a page has ten of them, and must be made in a moment. Each is as wide as a
telephone shows it, so that its letters keep their size everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray
from torch import Tensor

from coview.evaluation.statistics import Measurement
from coview.evaluation.verdict import is_control
from coview.evaluation.wording import in_words

# Eight colours that differ in light and in dark, and to those who see few of them in lightness; shape tells them, too.
COLOURS = ("#4f7fd9", "#e0813a", "#3f9d6b", "#c9504c", "#8a6cc4", "#a8795c", "#d677b5", "#36a5b5")
GREY = "#8b9199"
DASHES = ("", "6 3", "2 3", "9 3 2 3", "12 4", "1 4", "5 2 1 2 1 2", "3 6")
CLASSES = 12  # of a map that are told apart, at most
WIDTH = 330  # of every figure, in pixels of the page where it is narrow
_LETTER = 6.2  # pixels of a letter's width
_CORNERS: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "up": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
    "diamond": ((0, -1.3), (1.1, 0), (0, 1.3), (-1.1, 0)),
    "down": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
    "plus": ((-.4, -1.2), (.4, -1.2), (.4, -.4), (1.2, -.4), (1.2, .4), (.4, .4), (.4, 1.2), (-.4, 1.2), (-.4, .4),
             (-1.2, .4), (-1.2, -.4), (-.4, -.4)),
    "bow": ((-1.1, -1.1), (1.1, 1.1), (1.1, -1.1), (-1.1, 1.1)),
    "bar": ((-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)),
}  # fmt: skip
_SHAPES = ("circle", *_CORNERS)

Curve = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Bar:
    """A bar of a share: `own` is the model's, not a control's; the others are per cent of the bar's whole length."""

    name: str
    m: Measurement
    own: bool
    value: float
    low: float | None
    high: float | None
    chance: float | None


def bars(groups: Mapping[str, Sequence[Measurement]]) -> list[tuple[str, str, list[Bar]]]:
    """Return (what was measured in words, its name, bars) of each group of figures between 0 and 1."""

    def share(value: float | None) -> float | None:
        return None if value is None or math.isnan(value) else 100 * min(max(value, 0.0), 1.0)

    def bar(m: Measurement) -> Bar:
        name = m.name.partition("/")[2]
        return Bar(name, m, not is_control(name), share(m.value) or 0.0, share(m.low), share(m.high), share(m.chance))

    return [(in_words(group[0]), what, [bar(m) for m in group]) for what, group in groups.items()]


def curves(lines: Mapping[str, Curve], label: str, reference: tuple[str, float] | None = None) -> str:
    """Draw named lines (steps, values) over the steps, each in a colour and dashes of its own, eight at most.

    Args:
        reference: a level that is drawn across, in grey, with its name.
    """
    shown = dict(list(lines.items())[: len(COLOURS)])
    steps = [step for line, _ in shown.values() for step in line]
    values = [value for _, line in shown.values() for value in line if math.isfinite(value)]
    values += [] if reference is None else [reference[1]]
    low = 0.0 if label in ("samples/s", "share", "accuracy") else min(values, default=0.0)
    marks = ticks(low, max([*values, low]), 5)
    bottom, top, first, last = min(low, marks[0]), max(values + marks), min(steps, default=0), max(steps, default=1)
    names = [*shown, *([] if reference is None else [reference[0]])]
    legend, head = _legend(
        [(name, _line(4, 0, 22, 0, colour, dash)) for name, colour, dash in zip(shown, COLOURS, DASHES, strict=False)]
        + ([] if reference is None else [(reference[0], _line(4, 0, 22, 0, GREY, "4 3"))])
    )
    legend, head = (legend, head) if len(names) > 1 else ("", 6)
    left, right, height = 12 + _LETTER * max(len(number(mark)) for mark in marks), WIDTH - 8, 130

    def x(step: float) -> float:
        return left + (right - left) * (step - first) / ((last - first) or 1)

    def y(value: float) -> float:
        return head + height * (1 - (value - bottom) / ((top - bottom) or 1))

    drawn = [legend]
    for mark in marks:
        drawn.append(_line(left, y(mark), right, y(mark), GREY, "", 0.5, 0.4))
        drawn.append(_text(left - 5, y(mark) + 4, number(mark), "end"))
    for mark in ticks(first, last, 4):
        drawn.append(_text(x(mark), head + height + 15, number(mark), "middle"))
    drawn.append(_text((left + right) / 2, head + height + 30, f"step ({label} above)" if label else "step", "middle"))
    if reference is not None:
        drawn.append(_line(left, y(reference[1]), right, y(reference[1]), GREY, "4 3", 1.2))
    for (their, line), colour, dash in zip(shown.values(), COLOURS, DASHES, strict=False):
        places = [(x(step), y(value)) for step, value in zip(their, line, strict=True) if math.isfinite(value)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{_dashes(dash)}/>')
        drawn += [_marker(0, a, b, 2.5, colour) for a, b in places if len(places) < 3]
    return _svg(head + height + 36, drawn, f"{label} over steps: {', '.join(names)}")


def scatter(points: Tensor, labels: Tensor, classes: Sequence[str], title: str) -> str:
    """Draw points (N, 2) in the colour and shape of their label, where there are any; rarer classes are grey dots."""
    (x, y), known = points.T.double().numpy(), labels.numpy()
    found, counts = np.unique(known[known >= 0], return_counts=True)
    shown = sorted(found[np.argsort(-counts, kind="stable")][:CLASSES].tolist())
    looks = {label: (COLOURS[k % 8], (k + k // 8) % 8) for k, label in enumerate(shown)}
    items = [(str(classes[label])[:24], _marker(shape, 13, 0, 4, colour)) for label, (colour, shape) in looks.items()]
    if (rest := len(found) - len(shown)) or (len(found) and (known < 0).any()):
        names = [f"{rest} rarer classes"] * bool(rest) + ["without a class"] * bool((known < 0).any())
        items.append((", ".join(names), _marker(0, 13, 0, 2.5, GREY)))
    legend, head = _legend(items) if items else ("", 6)
    side = WIDTH - 20

    def placed(values: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = float(values.min()), float(values.max())
        return 10 + side * (values - low) / ((high - low) or 1.0)

    drawn, height = [legend], round(0.8 * side)
    for a, b, label in zip(placed(x), head + 10 + (placed(y) - 10) * height / side, known.tolist(), strict=True):
        colour, shape = looks.get(label, (GREY, 0))
        drawn.append(_marker(shape, float(a), float(b), 3.4 if label in looks else 2.2, colour))
    return _svg(head + height + 20, drawn, f"map of {len(known)} recordings by {title}")


def spectrogram(uri: str, seconds: float, places: Sequence[tuple[float, str]], scale: str) -> str:
    """Draw the axes of a spectrogram around it.

    Args:
        uri: the picture, low frequencies at the bottom.
        seconds: how long it is.
        places: (share of the height from the bottom, frequency) of each mark on the axis.
        scale: what the frequencies are in, such as "Hz (mel)".
    """
    left, top, right, height = 44, 22, WIDTH - 14, 110
    drawn = [
        f'<image href="{uri}" x="{left}" y="{top}" width="{right - left}" height="{height}"'
        ' preserveAspectRatio="none"/>',
        _text(2, 10, scale),
    ]
    drawn += [_text(left - 5, top + height * (1 - share) + 4, name, "end") for share, name in places]
    for mark in ticks(0.0, seconds, 4):
        at = left + (right - left) * mark / seconds
        drawn += [_line(at, top + height, at, top + height + 4, "currentColor")]
        drawn += [_text(at, top + height + 16, f"{number(mark)} s", "middle")]
    return _svg(top + height + 22, drawn, f"spectrogram of {seconds:.3g} seconds")


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers from `low` to `high`; both are the same: that one."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= 0.75 * rough)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)] or [low]


def number(value: float) -> str:
    """Return a mark of an axis, short."""
    return f"{value:.4g}" if value == 0 or 1e-4 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-")


def _legend(items: Sequence[tuple[str, str]]) -> tuple[str, float]:
    """Return the names beside their marks, row after row, and the height that they take."""
    x, y, drawn = 0.0, 8.0, []
    for name, mark in items:
        width = 34 + _LETTER * len(name)
        if x and x + width > WIDTH:
            x, y = 0.0, y + 16
        drawn.append(f'<g transform="translate({x:.0f} {y:.0f})">{mark}{_text(26, 4, name)}</g>')
        x += width
    return "".join(drawn), y + 14


def _marker(shape: int, x: float, y: float, size: float, colour: str) -> str:
    if _SHAPES[shape] == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" fill="{colour}"/>'
    corners = " ".join(f"{x + size * a:.1f},{y + size * b:.1f}" for a, b in _CORNERS[_SHAPES[shape]])
    return f'<polygon points="{corners}" fill="{colour}"/>'


def _line(
    a: float, b: float, c: float, d: float, colour: str, dash: str = "", width: float = 1.6, opacity: float = 1.0
) -> str:
    faint = "" if opacity == 1 else f' opacity="{opacity}"'
    where = f'x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}"'
    return f'<line {where} stroke="{colour}" stroke-width="{width}"{_dashes(dash)}{faint}/>'


def _dashes(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, drawn: Sequence[str], label: str) -> str:
    about = f'viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {about} font-size="11" fill="currentColor">{"".join(drawn)}</svg>'
