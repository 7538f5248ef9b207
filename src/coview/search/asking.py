"""Which recording is asked for next, and what the labels given so far allow to say of the rest.

A fifth of the recordings without a label of their own, drawn once, is kept back: one of five that are asked for comes
from it, in the order in which it was drawn, and is never learnt from, so that accuracy on these is accuracy on all. The
other four are those of which a classifier of stored features is least sure; as long as nothing can be learnt they are
drawn as well, far from each other.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from coview.errors import UsageError
from coview.evaluation.statistics import wilson
from coview.randomness import integers, make_key, uniform
from coview.search.few_labels import CANDIDATES, LEVEL, SHARES, Fitted, Rows, Vectors, spread, supported
from coview.search.labelling import LOOKED, Labelling
from coview.search.labels import KEY, RANDOM, SUGGESTED, Said

ROUND = 5  # recordings that are asked for at a time, one of them at random
CLASSES, ITEMS = 2, 3  # so many classes of so many labels each are learnt from
_OWN = 5000  # of the collection's own labels that are learnt from, about
_ORDER, _PLACE = 0x6F726472, 0x706C6163  # streams of random numbers


class Asking:
    """The queue of one collection, and what is learnt from its labels; threads may share it.

    Args:
        labelling: what people say.
        vectors: stored features of its rows; None: nothing is learnt, and every recording is drawn at random.
    """

    def __init__(self, labelling: Labelling, vectors: Vectors | None = None) -> None:
        self._labelling, self._vectors, self._lock = labelling, vectors, threading.Lock()
        order = torch.argsort(uniform(make_key(0, torch.arange(len(labelling))), _ORDER), stable=True).numpy()
        bare = np.array([label is None for label in labelling.own], bool)
        own, bare = np.flatnonzero(~bare), order[bare[order]]
        kept = -(-len(bare) // ROUND)
        self._kept, self._rest = bare[:kept], bare[kept:]
        self._drawn = frozenset(self._kept.tolist())
        self._own = {int(row): str(labelling.own[row]) for row in own[:: max(1, len(own) // _OWN)]}
        self._fit: tuple[dict[int, str], Fitted] | None = None

    def next(self, but: Sequence[int] = ()) -> list[tuple[int, str]]:
        """Return some rows to ask for, each KEY or RANDOM, as it is to be said; none when all have been looked at.

        Args:
            but: rows that are asked for already.
        """
        said, random = self._labelling.now()
        looked = {row for row, line in said.items() if line.how in LOOKED} | set(but)
        kept = [int(row) for row in self._kept if row not in looked]
        free = [row for row in self._rest if row not in looked and (row not in said or said[row].label is None)]
        key = make_key(0, len(said), len(but), len(free))
        asked = [(row, KEY) for row in self._least_sure(said, random, np.array(free, np.int64), key)]
        drawn = [(row, RANDOM) for row in kept[: ROUND - len(asked)]]
        place = int(integers(key, _PLACE, len(asked) + 1))
        return [*asked[:place], *drawn, *asked[place:]]

    def draws(self, row: int) -> bool:
        """Tell whether a recording is one of those that are drawn at random."""
        return row in self._drawn

    def _least_sure(self, said: Mapping[int, Said], random: frozenset[int], free: Rows, key: torch.Tensor) -> list[int]:
        count = ROUND - 1
        if self._vectors is None or not len(free):
            return [int(row) for row in free[:count]]
        some = np.roll(free, -int(integers(key, _ORDER, len(free))))[:CANDIDATES]
        seen, seed = some[self._vectors.has[some]], int(key) & 0xFFFFFFFF
        fitted = self._fitted(said, random)
        found = fitted.unsure(seen, count, seed) if fitted else spread(self._vectors, seen, count, seed)
        return [*found.tolist(), *some[~self._vectors.has[some]].tolist()][:count]

    def _fitted(self, said: Mapping[int, Said], random: frozenset[int]) -> Fitted | None:
        """Return the classifier of all labels but those that are measured on; None where they are too few.

        What it suggested itself teaches it nothing, however many they are.
        """
        if (vectors := self._vectors) is None:
            return None
        given = {row: line.label for row, line in said.items() if line.label is not None and line.how != SUGGESTED}
        known = self._own | given
        known = {row: label for row, label in known.items() if row not in random and vectors.has[row]}
        if sum(count >= ITEMS for count in Counter(known.values()).values()) < CLASSES:
            return None
        with self._lock:
            if self._fit is None or self._fit[0] != known:
                self._fit = known, Fitted(vectors, np.array(list(known), np.int64), list(known.values()))
            return self._fit[1]

    def _measured(self, said: Mapping[int, Said], random: frozenset[int]) -> tuple[Rows, list[str]]:
        """Return the labelled rows that were drawn at random, and their labels."""
        labels = {row: str(said[row].label) for row in sorted(random) if said[row].label is not None}
        rows = [row for row in labels if self._vectors is not None and self._vectors.has[row]]
        return np.array(rows, np.int64), [labels[row] for row in rows]

    def state(self) -> dict[str, Any]:
        """Return counts, and the accuracy on the recordings that were drawn at random, as plain data."""
        said, random = self._labelling.now()
        fitted, (rows, truth) = self._fitted(said, random), self._measured(said, random)
        found: dict[str, Any] = {
            **self._labelling.counts(), "features": self._vectors is not None, "learns": fitted is not None,
            "needs": {"classes": CLASSES, "items": ITEMS}, "estimate": None,
        }  # fmt: skip
        if fitted is None or not len(rows):
            return found
        guessed, _ = fitted.guesses(rows)
        mixed = Counter(zip(truth, guessed, strict=True))
        right = sum(count for (label, guess), count in mixed.items() if label == guess)
        low, high = wilson(right, len(rows))
        found["estimate"] = {
            "right": right, "of": len(rows), "low": low, "high": high, "from": fitted.learnt,
            "commonest": max(Counter(truth).values()), "confusion": [[*pair, count] for pair, count in mixed.items()],
        }  # fmt: skip
        return found

    def suggest(self, precision: float, take: int | None = None) -> dict[str, Any]:
        """Return how many of the rest would get a label such that at least `precision` of these labels are right.

        Args:
            precision: between 0 and 1.
            take: how many they were when a person agreed; they get their labels.

        Returns:
            "offered" as `supported` returns it; "count" and "by" class; "least": how many drawn at random that takes at
            least, with all of them right.

        Raises:
            UsageError: there are not so many any more.
        """
        said, random = self._labelling.now()
        fitted, (rows, truth) = self._fitted(said, random), self._measured(said, random)
        least = math.ceil(math.log(LEVEL / len(SHARES)) / math.log(precision))
        found: dict[str, Any] = {"offered": None, "count": 0, "by": {}, "least": least}
        chosen: dict[int, tuple[str, float | None]] = {}
        if fitted is not None and len(rows):
            guessed, sure = fitted.guesses(rows)
            right: NDArray[np.bool_] = np.array(guessed) == np.array(truth)
            found["offered"] = supported(sure, right, precision)
        if fitted is not None and self._vectors is not None and found["offered"] is not None:
            every = np.concatenate([self._kept, self._rest])
            free = np.array([row for row in every if row not in said and self._vectors.has[row]], np.int64)
            names, sure = fitted.guesses(free)
            pairs = zip(free.tolist(), names, sure.tolist(), strict=True)
            chosen = {row: (name, one) for row, name, one in pairs if one >= found["offered"]["above"]}
            found |= {"count": len(chosen), "by": dict(Counter(name for name, _ in chosen.values()))}
        if take is not None:
            if take != len(chosen):
                raise UsageError(f"there are {len(chosen)} by now, and not {take}: look again")
            self._labelling.say_all(chosen, SUGGESTED)
        return found
