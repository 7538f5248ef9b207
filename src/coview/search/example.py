"""Search by example: several parts, each with a weight and a sign, in any directions between views, exactly.

Cosines between two kinds of views lie on a scale of their own, so that they are standardised before they are added:
by mean and deviation of the query's own cosines with a fixed random sample of recordings, each by its best window.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from coview.data.stored import Stored
from coview.embedding.gallery import Gallery, Rows, nearest_of_others
from coview.errors import UsageError
from coview.randomness import make_key, uniform
from coview.search.likes import refined
from coview.search.query import gallery_of, window_seconds

SAMPLE = 10_000  # recordings that cosines are standardised by
_ASKING = 500  # of the sample that ask it themselves, to say what is usually near
_FAR = 0.05  # the share of the collection's own recordings that are as far from everything
_NOTHING = 1e-6  # the length of a sum of parts, in shares of their weights, of which nothing but rounding is left
_FLAT = 1e-6  # a deviation of cosines that says nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A vector (D,) of a view that is asked by; a negative weight means: away from it."""

    view: str
    vector: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Window:
    """A stored window of a hit: its seconds, its cosine, and how high it stands: 0 for the sample's mean, 1 for the
    best of all hits.
    """

    start: float
    end: float
    cosine: float
    height: float


@dataclass(frozen=True)
class Example:
    """A recording that was found.

    Attributes:
        row: of the store.
        score: the mean of its standardised cosines, by weight, over the views that it has.
        percentile: of the sampled recordings, the share in per cent that is less like the query.
        view: the view that says most for it, whose best window begins at `second`.
        cosines: target view -> the cosine of its best window.
        windows: those of `view` that are there.
    """

    row: int
    score: float
    percentile: float
    view: str
    second: float
    cosines: dict[str, float]
    windows: list[Window]


@dataclass(frozen=True)
class Found:
    """Hits, best first; of how many recordings; and what has to be said of the query."""

    hits: list[Example]
    among: int
    remarks: list[str]


@dataclass(frozen=True)
class _Pair:
    """How one view of the query is compared with one view of the recordings; `usual`: its cosines with the sample."""

    asked: str
    target: str
    weight: float
    query: Tensor
    usual: NDArray[np.float32]

    @cached_property
    def mean(self) -> float:
        return float(self._known.mean()) if len(self._known) else 0.0

    @cached_property
    def deviation(self) -> float:
        found = float(self._known.std()) if len(self._known) else 0.0
        return found if found > _FLAT else 1.0

    @property
    def _known(self) -> Floats:
        return self.usual[np.isfinite(self.usual)].astype(np.float64)


class Examples:
    """Search by example in one store; it may be asked any number of times, by several threads.

    Args:
        stored: of vectors of length 1.
        comparable: tells whether two views lie in one space; all do by default.

    Raises:
        UsageError: the vectors are not of length 1.
    """

    def __init__(self, stored: Stored, comparable: Callable[[str, str], bool] = lambda one, other: True) -> None:
        self.stored, self.comparable = stored, comparable
        self._galleries: dict[str, Gallery] = {view: gallery_of(stored, view) for view in stored.views}
        self._nearest: dict[tuple[str, str], float] = {}
        order = torch.argsort(uniform(make_key(torch.tensor(0), torch.arange(len(stored.ids))), 0), stable=True)
        self._sample: Rows = np.sort(order[:SAMPLE].numpy()).astype(np.intp)
        # Together in memory: gathered anew for each query they would cost more than the search.
        self._sampled = {view: _part_of(gallery, self._sample) for view, gallery in self._galleries.items()}

    def vector(self, view: str, row: int) -> Tensor | None:
        """Return the mean (D,) of a recording's windows, of length 1; None where it lacks the view."""
        there = self.stored.present[view][row]
        mean = torch.from_numpy(self.stored.clips[view][row][there].astype(np.float32)).mean(0)
        return normalize(mean, dim=0) if bool(mean.isfinite().all()) else None

    def find(
        self,
        parts: Sequence[Part],
        targets: Mapping[str, float],
        k: int,
        *,
        rows: NDArray[np.bool_] | None = None,
        liked: Collection[int] = (),
        disliked: Collection[int] = (),
        but: Collection[int] = (),
    ) -> Found:
        """Return the k recordings most like the parts, best first; equal ones in the order of the rows.

        Parts of one view are one vector, the sum of their unit vectors by weight. Every vector is compared, and what
        float32 leaves in doubt is compared again in float64, as in `Gallery.nearest`.

        Args:
            parts: what is asked by; at least one.
            targets: view of the recordings -> its weight, above 0; what a recording lacks is left out of its mean.
            k: recordings wanted.
            rows: only among these, bool (N,).
            liked: rows, towards which the query is moved (`likes.refined`); `disliked`: from which.
            but: rows that are not found: the query itself.

        Raises:
            UsageError: nothing can be compared; parts that cancel out, are zero or not finite; k below 1.
        """
        if k < 1 or not parts or not targets:
            raise UsageError("a search by example takes a part at least, a view that is found, and k of 1 or more")
        pairs = self._pairs(parts, targets, liked, disliked)
        allowed = np.ones(len(self.stored.ids), bool) if rows is None else rows.copy()
        allowed[list(but)] = False
        where = np.flatnonzero(allowed)
        score = _score(pairs, targets, [self._galleries[p.target].scores(p.query, where) for p in pairs])
        known = np.isfinite(score)
        among, score = where[known], score[known]
        # Twice what rounding can do to a score in float32.
        doubt = max(2 * len(pair.query) * float(np.finfo(np.float32).eps) / pair.deviation for pair in pairs)
        found = among[score >= np.partition(score, -k)[-k] - doubt] if len(among) > k else among
        exact = _score(pairs, targets, [self._galleries[p.target].cosines(p.query, found).max(1) for p in pairs])
        best = np.lexsort((found, -exact))[:k]
        usual = _score(pairs, targets, [p.usual for p in pairs])
        others = np.sort(usual[np.isfinite(usual) & ~np.isin(self._sample, list(but))])
        below = 100 * np.searchsorted(others, exact[best] - doubt) / max(1, len(others))
        hits = self._told(pairs, targets, found[best], exact[best], below)
        asked = self._pairs(parts, targets, (), ()) if liked or disliked else pairs
        return Found(hits, len(among), self._remarks(asked, but) if all(part.weight > 0 for part in parts) else [])

    def curve(self, parts: Sequence[Part], target: str, vectors: Tensor, row: int) -> tuple[Floats, Floats]:
        """Return cosines (W,) of windows (W, D) of one recording, and their heights in [0, 1].

        0 is the sample's mean, 1 the best of the sample and of these windows.
        """
        pairs = self._pairs(parts, {target: 1.0}, (), ())
        unit = normalize(vectors.double(), dim=1)
        cosine = np.sum(
            [pair.weight * (unit @ normalize(pair.query.double(), dim=0)).numpy() for pair in pairs], axis=0
        )
        low = sum(pair.weight * pair.mean for pair in pairs)
        usual = np.sum([pair.weight * pair.usual for pair in pairs], axis=0)
        high = max(float(np.max(usual[self._sample != row], initial=-1.0)), float(np.max(cosine)))
        return cosine, np.clip((cosine - low) / max(high - low, _FLAT), 0, 1)

    def _pairs(
        self, parts: Sequence[Part], targets: Mapping[str, float], liked: Collection[int], disliked: Collection[int]
    ) -> list[_Pair]:
        sums: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for part in parts:
            unit = part.weight * normalize(part.vector.double().cpu(), dim=0)
            sums[part.view] = sums.get(part.view, torch.zeros_like(unit)) + unit
            weights[part.view] = weights.get(part.view, 0.0) + abs(part.weight)
        if any(float(sums[view].norm()) < _NOTHING * weights[view] for view in sums):
            raise UsageError("parts of the query cancel out, or are zero: nothing is left to look for")
        found = []
        for target in targets:
            if target not in self._galleries:
                raise UsageError(f"there are no embeddings of {target!r}; there are of {', '.join(self._galleries)}")
            near = {view: weight for view, weight in weights.items() if self.comparable(view, target)}
            whole = sum(near.values())
            for view in near if whole > 0 else ():
                likes, dislikes = self._judged(target, liked), self._judged(target, disliked)
                query = refined(sums[view].float(), likes, dislikes) if len(likes) + len(dislikes) else sums[view]
                found.append(_Pair(view, target, near[view] / whole, query, self._sampled[target].scores(query)))
        if not found:
            raise UsageError("the query and what is looked for lie in different spaces, so that nothing can be near")
        return found

    def _judged(self, view: str, rows: Collection[int]) -> Tensor:
        found = [vector for row in rows if (vector := self.vector(view, row)) is not None]
        return torch.stack(found) if found else torch.empty(0, self.stored.clips[view].shape[2])

    def _told(
        self, pairs: Sequence[_Pair], targets: Mapping[str, float], rows: Rows, scores: Floats, below: Floats
    ) -> list[Example]:
        cosine: dict[str, Floats] = {}
        level: dict[str, tuple[float, float]] = {}
        for target in targets:
            own = [pair for pair in pairs if pair.target == target]
            if own:
                all_windows = [pair.weight * self._galleries[target].cosines(pair.query, rows) for pair in own]
                cosine[target] = np.sum(all_windows, axis=0)
                level[target] = (sum(p.weight * p.mean for p in own), float(np.mean([p.deviation for p in own])))
        lengths = {target: window_seconds(self.stored, target) for target in cosine}
        top = {target: max(float(values.max(initial=-1.0)), level[target][0]) for target, values in cosine.items()}
        hits = []
        for number, row in enumerate(rows.tolist()):
            own_best = {t: float(values[number].max()) for t, values in cosine.items()}
            own_best = {t: value for t, value in own_best.items() if np.isfinite(value)}
            view = max(own_best, key=lambda t: targets[t] * (own_best[t] - level[t][0]) / level[t][1])
            low, high = level[view][0], top[view]
            starts, length = self.stored.start[view][row], lengths[view]
            windows = [
                Window(
                    float(starts[place]),
                    float(starts[place]) + length,
                    float(value),
                    float(np.clip((value - low) / max(high - low, _FLAT), 0, 1)),
                )
                for place, value in enumerate(cosine[view][number].tolist())
                if np.isfinite(value)
            ]
            second = max(windows, key=lambda window: window.cosine).start
            hits.append(Example(row, float(scores[number]), float(below[number]), view, second, own_best, windows))
        return hits

    def _remarks(self, pairs: Sequence[_Pair], but: Collection[int]) -> list[str]:
        """Say where the query is far from everything, as seen from every view that is looked for."""
        known = [pair for pair in pairs if pair.asked in self._galleries]
        others = ~np.isin(self._sample, list(but))
        near = [float(np.max(pair.usual[others], initial=-np.inf)) for pair in known]
        if not all(best < self._usually(p.asked, p.target) for p, best in zip(known, near, strict=True)) or not known:
            return []
        return [
            "The query is far from everything: of the collection's own recordings 95 in 100 have something nearer to "
            "them than the best of what follows."
        ]

    def _usually(self, asked: str, target: str) -> float:
        """Return the cosine of its nearest other recording that all but 5 % of the sampled recordings exceed."""
        if (asked, target) not in self._nearest:
            places = range(0, len(self._sample), max(1, len(self._sample) // _ASKING))
            vectors = {place: self.vector(asked, int(self._sample[place])) for place in places}
            near = nearest_of_others({p: v for p, v in vectors.items() if v is not None}, self._sampled[target])
            self._nearest[asked, target] = float(np.quantile(near, _FAR)) if len(near) >= 1 / _FAR else -np.inf
        return self._nearest[asked, target]


def _part_of(gallery: Gallery, rows: Rows) -> Gallery:
    return Gallery(gallery.clips[rows].astype(np.float32), gallery.present[rows])


def _score(pairs: Sequence[_Pair], targets: Mapping[str, float], best: Sequence[NDArray[Any]]) -> Floats:
    """Return the score of recordings (M,), of each pair's best cosines (M,); -inf for those without a target view."""
    total, weight = np.zeros(len(best[0])), np.zeros(len(best[0]))
    for target, share in targets.items():
        own = [(pair, cosine) for pair, cosine in zip(pairs, best, strict=True) if pair.target == target]
        there = np.logical_and.reduce([np.isfinite(cosine) for _, cosine in own]) if own else np.zeros(len(total), bool)
        for pair, cosine in own:
            total[there] += share * pair.weight * (cosine[there].astype(np.float64) - pair.mean) / pair.deviation
        weight[there] += share
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), -np.inf)
