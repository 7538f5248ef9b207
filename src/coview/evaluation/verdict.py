"""The one verdict on figures and runs: chance, controls, too few items, shuffled pairs, plateau, collapse, idle steps.

`pretrain`, `evaluate`, `compare` and the report all say what stands here, and nothing else of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from coview.evaluation.statistics import Measurement
from coview.evaluation.wording import in_words, named
from coview.training.signals import collapse

COMMONEST, GIVEN = "commonest", "given"  # the most frequent answers; vectors from elsewhere
CONTROLS = (
    "shuffled",
    "random",
    "permuted",
    "statistics",
    COMMONEST,
    GIVEN,
    "supervised-av",
)  # rows to compare with, in the order they are shown
SHUFFLED = ", shuffled"  # behind the name of a run that learnt from wrong pairs
FEW = 30  # items, below which a figure near chance says little of the model
_NAMED = 4  # figures in a sentence
# Parts of the names of figures that are best where they are lowest.
_LOW = ("median_rank", "next_rank", "_rmse", "normals_mean", "normals_median", "zero_shot_ece")
_MAIN = ("_probe/", "class_p1_", "retrieval_", "_zero_shot/")  # what is said first
_TILES = 4


def is_control(row: str) -> bool:
    """Tell whether a row of figures stands for what is not learnt from the pairs, or is learnt from labels."""
    return row in CONTROLS or row.endswith(SHUFFLED)


def row_name(name: str, shuffled: bool) -> str:
    """Return what figures call a model: one that was trained on shuffled pairs is never named like a true one."""
    return f"{name}{SHUFFLED}" if shuffled and not is_control(name) else name


def verdict(results: Sequence[Measurement], signs: Sequence[str] = ()) -> list[str]:
    """Return what a reader must know before believing the figures, plain sentences, the gravest first.

    Args:
        results: of the model and, where there are any, of its controls.
        signs: of the run (`signs`).
    """
    said = [*signs, *_named_as_shuffled(results)]
    rows = dict.fromkeys(m.name.partition("/")[2] for m in results)
    for row in rows:
        if is_control(row):
            continue
        own = [m for m in results if m.name.partition("/")[2] == row]
        said += _near_chance(row, own) + _near_controls(own, results)
    return said


def headline(results: Sequence[Measurement]) -> list[Measurement]:
    """Return up to four main figures of the model itself, those of one view to another before those within one."""
    own = [m for m in results if not is_control(m.name.partition("/")[2]) and in_words(m)]
    across = [m for m in own if not re.search(r"_(\w+?)2\1(_r1)?/", m.name)]
    return [m for part in _MAIN for m in across if part in m.name][:_TILES]


def at_chance(m: Measurement) -> bool:
    """Tell whether an interval holds what guessing gives, or lies on the wrong side of it."""
    if m.chance is None or m.low is None or m.high is None:
        return False
    return m.high >= m.chance if _low_is_good(m) else m.low <= m.chance


def _low_is_good(m: Measurement) -> bool:
    return any(each in m.name for each in _LOW)


def _near_chance(row: str, own: Sequence[Measurement]) -> list[str]:
    found = [m for m in own if at_chance(m)]
    few, many = [m for m in found if m.n < FEW], [m for m in found if m.n >= FEW]
    said = []
    if few:
        sizes = sorted({m.n for m in few})
        items = f"{sizes[0]} items" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} items"
        said.append(f"{row} cannot be told from chance ({items}): {_listed(few)}")
    if many:
        said.append(f"{row} is not above chance in {len(many)} of {len(own)} figures: {_listed(many)}")
    return said


def _listed(figures: Sequence[Measurement]) -> str:
    texts = [f"{named(m)} {m.value:.3f}, chance {m.chance:.3f}" for m in figures[:_NAMED]]
    return "; ".join(texts) + (f" and {len(figures) - _NAMED} more" if len(figures) > _NAMED else "")


def _near_controls(own: Sequence[Measurement], results: Sequence[Measurement]) -> list[str]:
    """Return a sentence for each control that some of the figures are not clearly above."""
    by_name = {m.name: m for m in results}
    row = own[0].name.partition("/")[2] if own else ""
    said = []
    for control in ("random", "shuffled", "permuted", f"{row}{SHUFFLED}"):
        pairs = [(m, by_name.get(f"{m.name.partition('/')[0]}/{control}")) for m in own]
        compared = [(m, other) for m, other in pairs if other is not None]
        near = [(m, other) for m, other in compared if _is_near(m, other)]
        if near:
            texts = [f"{named(m)} {m.value:.3f} against {other.value:.3f}" for m, other in near[:_NAMED]]
            more = f" and {len(near) - _NAMED} more" if len(near) > _NAMED else ""
            said.append(
                f"{row} is not clearly above its {control} control in {len(near)} of {len(compared)} figures: "
                f"{'; '.join(texts)}{more}"
            )
    return said


def _is_near(m: Measurement, other: Measurement) -> bool:
    """Tell whether two intervals meet, or lie the wrong way round."""
    if m.low is None or m.high is None or other.low is None or other.high is None:
        return False
    return m.high >= other.low if _low_is_good(m) else m.low <= other.high


def _named_as_shuffled(results: Sequence[Measurement]) -> list[str]:
    rows = dict.fromkeys(m.name.partition("/")[2] for m in results)
    shuffled = [row.removesuffix(SHUFFLED) for row in rows if row.endswith(SHUFFLED)]
    return [
        f"{row} learnt from shuffled pairs: its figures are a control, which true pairs must beat." for row in shuffled
    ]


def signs(
    settings: Mapping[str, Any], summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]] = ()
) -> list[str]:
    """Return what a run's own records say against it.

    Args:
        settings, summary: of the run folder, as read; empty where there are none.
        metrics: its log; looked at where the run has no summary, because it was stopped.
    """
    said = []
    if settings.get("shuffled"):
        said.append("This run was trained on shuffled pairs: whatever it shows, true pairs did not teach it.")
    collapsed = summary.get("collapse")
    if not collapsed and "collapse" not in summary and metrics:
        collapsed = collapse([{"loss": None, **line} for line in metrics], "none", None)
    said += [str(text) for text in (summary.get("plateau"), collapsed, summary.get("still")) if text]
    if idle := idle_steps(summary, metrics):
        steps = summary.get("steps") or len(metrics)
        said.append(f"{idle} of {steps} steps had nothing to learn from.")
    if summary.get("replaced"):
        said.append(f"{summary['replaced']} samples could not be read and were replaced by others.")
    return said


def idle_steps(summary: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> int:
    """Return how many steps had nothing to learn from: said by the summary, else those whose loss is null."""
    said = summary.get("idle_steps")
    return said if isinstance(said, int) else sum("loss" in line and line["loss"] is None for line in metrics)
