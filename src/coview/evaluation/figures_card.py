"""The figures on a model's card: those of the weights that lie beside it, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coview.evaluation.statistics import Measurement
from coview.files import read_text, write_aside

_HEADING = "\n## Figures\n"


def write_figures(model: Path, results: Sequence[Measurement], said: Sequence[str]) -> None:
    """Put figures, their intervals and the verdict on the card README.md in a model's folder, if there is one.

    Args:
        results: of the weights in this folder; without any, the card has no such section.
    """
    card = model / "README.md"
    if not card.is_file():
        return
    text = read_text(card, "the card of a model").partition(_HEADING)[0]
    if results:
        lines = ["| figure | value | 95 % interval | chance | items | seeds |", "|---|---|---|---|---|---|"]
        lines += [_line(m) for m in results]
        lines += ["", *(f"- {sentence}" for sentence in said)] if said else []
        text += f"{_HEADING}\n" + "\n".join(lines) + "\n"
    write_aside(card, text)


def _line(m: Measurement) -> str:
    interval = "" if m.low is None or m.high is None else f"{m.low:.3f} to {m.high:.3f}"
    chance = "" if m.chance is None else f"{m.chance:.3f}"
    return f"| {m.name} | {m.value:.3f} | {interval} | {chance} | {m.n} | {m.seeds} |"
