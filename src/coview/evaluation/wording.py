"""Figures in words, for people who do not know their names: what was asked, and how often the answer was right."""

from __future__ import annotations

import re

from coview.evaluation.statistics import Measurement

_VIEWS = {"v": "picture", "video": "picture", "i": "picture", "image": "picture", "a": "sound", "audio": "sound",
          "t": "text"}  # fmt: skip
_FORMS = (
    (r"retrieval_(?P<one>\w+?)2(?P=one)_r1", "one {one} finds another of the same recording first"),
    (r"retrieval_(?P<one>\w+?)2(?P<other>\w+?)_r1", "the {one} finds its own {other} first"),
    (r"class_p1_(?P<one>\w+?)2(?P=one)", "the most similar {one} is of the same class"),
    (r"class_p1_(?P<one>\w+?)2(?P<other>\w+)", "the first {other} that the {one} finds is of its class"),
    (r"(?P<one>\w+)_probe", "a linear classifier on the {one} is right"),
    (r"(?P<one>\w+)_knn", "the nearest neighbours of the {one} name its class"),
    (r"(?P<one>\w+)_zero_shot", "the nearest name to the {one} is its class's"),
    (r"picture_coverage", "pictures that the clusters touch"),
    (r"cluster_purity", "patches that have their cluster's commonest class"),
    (r"(?P<one>\w+)_purity", "recordings that have their {one} cluster's commonest class"),
    (r"(?P<one>\w+)_nmi", "what {one} clusters say of the class (mutual information)"),
    (r"(?P<one>\w+)_units@[\w.]+", "units of the {one}'s network that look for one class"),
    (r"pointing", "the map is highest where the sound is"),
)


def in_words(m: Measurement) -> str:
    """Return what a figure measures, in words; "" for one that only its name says exactly."""
    figure = m.name.partition("/")[0]
    for form, words in _FORMS:
        if found := re.fullmatch(form, figure):
            return words.format(**{name: plain_view(view) for name, view in found.groupdict().items()})
    return ""


def named(m: Measurement) -> str:
    """Return a figure's name as people read it, with its own name behind it where words were found."""
    figure, words = m.name.partition("/")[0], in_words(m)
    return f"{words} ({figure})" if words else figure


def plain_view(name: str) -> str:
    """Return what people call a view."""
    return _VIEWS.get(name, name)


def sentence(m: Measurement) -> str:
    """Return a share of items as a sentence; "" where `in_words` has none.

    Such as "the sound finds its own picture first in 5 of 12, chance 1 of 12".
    """
    words = in_words(m)
    if m.low is None or not words or m.n < 1 or not 0 <= m.value <= 1:
        return ""
    chance = "" if m.chance is None else f", chance {m.chance * m.n:.3g} of {m.n}"
    return f"{words} in {round(m.value * m.n)} of {m.n}{chance}"
