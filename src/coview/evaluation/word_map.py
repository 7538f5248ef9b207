"""A map of a dictionary's words: near ones are near by their vectors; nearest words of another language are joined."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coview.evaluation.tsne import tsne
from coview.evaluation.word_vectors import unit_rows
from coview.files import written_whole

MOST = 250  # words on a map
_PERPLEXITY = 20.0


def language_of(word: str) -> str:
    """Return the script of a word's first letter, such as "latin": what tells languages apart where none are given."""
    return unicodedata.name(word[0], "unknown").split()[0].lower()


def neighbours(
    words: Sequence[str], vectors: NDArray[np.floating], languages: Mapping[str, str]
) -> list[tuple[str, str, float]]:
    """Return (word, nearest word of another language, cosine) where each is the other's nearest such, nearest first.

    Args:
        words: K of them.
        vectors: (K, D).
        languages: word -> language; of words that are not in it, the script.
    """
    spoken = np.array([languages.get(word) or language_of(word) for word in words])
    unit = unit_rows(vectors)
    near = np.where(spoken[:, None] == spoken[None], -np.inf, unit @ unit.T)
    best = near.argmax(1)
    found = [
        (words[one], words[other], float(near[one, other]))
        for one, other in enumerate(best.tolist())
        if best[other] == one and one < other and np.isfinite(near[one, other])
    ]
    return sorted(found, key=lambda pair: -pair[2])


def draw(
    words: Sequence[str],
    vectors: NDArray[np.floating],
    counts: NDArray[np.int64],
    path: Path,
    languages: Mapping[str, str],
) -> list[tuple[str, str, float]]:
    """Write a map (SVG) of the commonest words, and return the neighbours that are joined on it.

    Words are letters in the file and no outlines: whoever looks at it has fonts of more scripts than matplotlib.

    Args:
        words: K >= 3 of them; vectors: (K, D); counts: (K,), by which the commonest are chosen.
        languages: as of `neighbours`.
    """
    from matplotlib import colormaps, rc_context
    from matplotlib.figure import Figure

    chosen = np.argsort(-counts, kind="stable")[:MOST]
    shown, own = [words[one] for one in chosen], vectors[chosen]
    places = tsne(torch.from_numpy(unit_rows(own)), min(_PERPLEXITY, max(1.0, (len(shown) - 1) / 3))).numpy()
    spoken = [languages.get(word) or language_of(word) for word in shown]
    kinds = sorted(set(spoken))
    colours = dict(zip(kinds, colormaps["tab20"](np.linspace(0, 1, len(kinds))), strict=True))
    figure = Figure(figsize=(14, 11))
    axes = figure.add_subplot()
    axes.scatter(places[:, 0], places[:, 1], s=0)
    at = dict(zip(shown, places, strict=True))
    pairs = neighbours(shown, own, languages)
    for one, other, _ in pairs:
        axes.plot(*np.stack([at[one], at[other]]).T, color="0.75", linewidth=0.8, zorder=0)
    for word, language in zip(shown, spoken, strict=True):
        axes.text(at[word][0], at[word][1], word, fontsize=7, ha="center", va="center", color=colours[language])
    for language in kinds:
        axes.scatter([], [], color=colours[language], label=language)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
    axes.set_axis_off()
    with rc_context({"svg.fonttype": "none"}), warnings.catch_warnings(), written_whole(path) as aside:
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(aside, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return pairs
