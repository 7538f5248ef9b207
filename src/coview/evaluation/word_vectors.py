"""What the vectors of words know, as pure functions: analogies, similarity as people judge it, words of pictures.

Mikolov et al. 2013 (arXiv 1301.3781) for analogies; Joulin et al. 2016 (arXiv 1511.02251), sections 4.3 and 4.4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def unit_rows(vectors: NDArray[np.floating]) -> Floats:
    """Return vectors (K, D) of length 1, float64; those of length 0 stay."""
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
    return unit


def joined(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return both sets of vectors (K, D), (K, E) of the same words beside each other, each of length 1."""
    return np.concatenate([unit_rows(first), unit_rows(second)], 1)


def analogies(vectors: NDArray[np.floating], questions: NDArray[np.int64], block: int = 256) -> NDArray[np.int64]:
    """Return d (Q,) of "a is to b as c is to d": the word nearest to w_b - w_a + w_c by the cosine, none of the three.

    Args:
        vectors: (K, D), any length.
        questions: (Q, 3), the numbers of a, b and c.
        block: questions at a time.
    """
    unit, answers = unit_rows(vectors), np.empty(len(questions), np.int64)
    for first in range(0, len(questions), block):
        some = questions[first : first + block]
        a, b, c = some.T
        near = (unit[b] - unit[a] + unit[c]) @ unit.T
        np.put_along_axis(near, some, -np.inf, axis=1)
        answers[first : first + block] = near.argmax(1)
    return answers


def cosines(vectors: NDArray[np.floating], pairs: NDArray[np.int64]) -> Floats:
    """Return the cosine (P,) of pairs of words, (P, 2)."""
    unit = unit_rows(vectors)
    found: Floats = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(1)
    return found


def rank_correlation(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """Return Spearman's correlation of two rows of numbers (P,), equal ones sharing a rank; nan for a constant."""
    return float(rank_correlations(x[None], y[None])[0])


def rank_correlations(x: NDArray[np.floating], y: NDArray[np.floating]) -> Floats:
    """Return `rank_correlation` of each row (S,) of two tables (S, P)."""
    first, second = (rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (x, y))
    size = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    together: Floats = (first * second).sum(1)
    found: Floats = np.divide(together, size, out=np.full(len(size), np.nan), where=size > 0)
    return found


def precision_at(scores: NDArray[np.floating], words: NDArray[np.bool_], k: int) -> Floats:
    """Return by picture (N,) the share of the k words of the highest scores (N, K) that its caption has, `words`."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    share: Floats = np.take_along_axis(words, best, axis=1).mean(1)
    return share
