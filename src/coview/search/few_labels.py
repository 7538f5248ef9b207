"""A classifier from few labels: stored features of recordings, the fit, whom to ask next, and what may be claimed.

Whom to ask: the smallest difference of the two largest probabilities (margin sampling: Scheffer, Decomain & Wrobel, IDA
2001), among a few candidates, of which k-means++ chooses some that differ (as for batches in Ash et al., ICLR 2020).
What is claimed of the rest is tested on recordings that were drawn at random and never learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coview.data.stored import Stored

CANDIDATES = 2000  # recordings that are compared by their margin
LEVEL = 0.05  # chance that suggestions are offered though fewer of them are right than was asked
SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)  # of the recordings, the surest: to how many a suggestion is offered
_SCALED = 10_000  # recordings that means and deviations are taken of
_NEAR = 10  # of the smallest margins, so many times as are asked for are spread
_ROWS = 8192  # recordings at a time

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]


class Vectors:
    """Stored features by the rows of a collection: one standardised vector of all views, read when it is asked for.

    Args:
        stored: a store, of these recordings or of others as well.
        ids: of the collection's rows.

    Attributes:
        has: bool (N,), which rows have any view stored.
    """

    def __init__(self, stored: Stored, ids: Sequence[str]) -> None:
        place = {name: row for row, name in enumerate(stored.ids)}
        self._stored = stored
        self._row = np.array([place.get(name, -1) for name in ids], np.int64)
        there = np.zeros(len(stored.ids) + 1, bool)  # the last one is of rows that are not stored
        for present in stored.present.values():
            there[:-1] |= present.any(1)
        self.has: NDArray[np.bool_] = there[self._row]
        rows = np.flatnonzero(self.has)
        chosen = rows[:: max(1, len(rows) // _SCALED)]
        self._mean, self._scale = np.zeros(1, np.float32), np.ones(1, np.float32)
        if len(chosen):
            raw = self.take(chosen)
            self._mean, deviation = raw.mean(0), raw.std(0)
            self._scale = np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)

    def take(self, rows: Rows) -> Floats:
        """Return the vectors of rows, float32 (n, D): means over windows, of length 1 in each view, standardised.

        A window that is not finite counts as one that is not there.
        """
        parts, where = [], self._row[rows]
        for view in self._stored.views:
            there = self._stored.present[view][where] & (where >= 0)[:, None]
            vectors = self._stored.clips[view][where].astype(np.float64)
            there = there & np.isfinite(vectors).all(2)
            summed = np.where(there[..., None], vectors, 0.0).sum(1)
            parts.append(summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12))
        return ((np.concatenate(parts, 1) - self._mean) / self._scale).astype(np.float32)


class Fitted:
    """Multinomial logistic regression on labelled rows; it knows the `classes` that were given, from `learnt` rows.

    Args:
        vectors: of the collection.
        rows, labels: what is learnt from, at least two classes.
    """

    def __init__(self, vectors: Vectors, rows: Rows, labels: Sequence[str]) -> None:
        from sklearn.linear_model import LogisticRegression

        self._vectors = vectors
        self._model = LogisticRegression(max_iter=200).fit(vectors.take(rows), np.array(labels))
        self.classes: list[str] = [str(name) for name in self._model.classes_]
        self.learnt = len(rows)

    def probabilities(self, rows: Rows) -> NDArray[np.float64]:
        """Return the probability of every class for every row, (n, K)."""
        found = [self._model.predict_proba(self._vectors.take(rows[k : k + _ROWS])) for k in range(0, len(rows), _ROWS)]
        return np.concatenate(found) if found else np.zeros((0, len(self.classes)))

    def guesses(self, rows: Rows) -> tuple[list[str], NDArray[np.float64]]:
        """Return the likeliest class of every row, and how likely it is."""
        found = self.probabilities(rows)
        return [self.classes[k] for k in found.argmax(1)], found.max(1, initial=0.0)

    def unsure(self, rows: Rows, count: int, seed: int) -> Rows:
        """Return `count` of the rows with the smallest margins that differ from each other."""
        two = np.sort(self.probabilities(rows), 1)[:, -2:]
        near = rows[np.argsort(two[:, 1] - two[:, 0], kind="stable")[: _NEAR * count]]
        return spread(self._vectors, near, count, seed)


def spread(vectors: Vectors, rows: Rows, count: int, seed: int) -> Rows:
    """Return `count` of the rows, chosen by k-means++ (Arthur & Vassilvitskii, SODA 2007)."""
    from sklearn.cluster import kmeans_plusplus

    if len(rows) <= count:
        return rows
    _, chosen = kmeans_plusplus(vectors.take(rows), count, random_state=seed % (1 << 32))
    found: Rows = rows[np.unique(chosen)]
    return found


def supported(sure: NDArray[np.float64], right: NDArray[np.bool_], precision: float) -> dict[str, Any] | None:
    """Return how sure the classifier must be for its labels to be right as often as `precision`; None: that is unknown.

    The surest of the recordings drawn at random, a fifth of them to all, are tested for each share: the exact lower
    limit of their precision (Clopper & Pearson, Biometrika 1934) at `LEVEL` over the number of shares (Bonferroni).

    Args:
        sure: (n,), probability of the likeliest class of recordings drawn at random.
        right: (n,), whether that class is theirs.

    Returns:
        "above" (probability), and "right" of "of" recordings as sure as that, with the lower limit "low".
    """
    from scipy.stats import beta

    order = np.sort(sure)[::-1]
    for share in SHARES:
        count = round(share * len(order))
        if not count:
            break
        above = 0.0 if share == 1.0 else float(order[count - 1])
        among = sure >= above
        hits, n = int(right[among].sum()), int(among.sum())
        low = float(beta.ppf(LEVEL / len(SHARES), hits, n - hits + 1)) if hits else 0.0
        if low >= precision:
            return {"above": above, "right": hits, "of": n, "low": low}
    return None
