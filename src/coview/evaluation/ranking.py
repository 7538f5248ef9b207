"""Rankings by cosine, exact: the place of the best relevant item, and whole rankings with average precision.

In a whole ranking an item is relevant where its label is the query's; a query's own partner in another view counts.
Rankings go by falling similarity, in float64; similarities closer than 1e-12 count as equal, which is what float32
embeddings can resolve near one. A query without relevant items has average precision 0 and reciprocal rank 0; whether
it counts in a mean is the caller's to say, and gives two different means.

What is not finite ranks last, whatever the rule for ties: an embedding with a NaN finds nothing and is not found.

Ties: "stable" keeps the gallery's order, "pessimistic" puts irrelevant items first among equals, so that an embedding
which has collapsed to a point scores as badly as it can, "optimistic" the reverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.errors import UsageError

Denominator = Literal["relevant", "reachable", "hits"]
Ties = Literal["pessimistic", "optimistic", "stable"]
_EQUAL = 1e-12


@dataclass(frozen=True)
class Ranking:
    """Where the best-placed relevant item stands for each query.

    Attributes:
        rank: int64 (Q,), 1 is first; gallery size + 1 for a query without relevant items.
        relevant: int64 (Q,), relevant items of each query.
        gallery: int64 (Q,), items each query was compared with.
    """

    rank: Tensor
    relevant: Tensor
    gallery: Tensor

    def hits(self, k: int) -> Tensor:
        """Return bool (Q,): is a relevant item among the first k?"""
        return self.rank <= k

    def chance(self, k: int) -> float:
        """Return the expected share of hits at k under a random order, over the queries.

        One minus the hypergeometric probability of k draws without a relevant item.
        """
        missed = torch.ones(self.rank.numel(), dtype=torch.float64)
        for drawn in range(k):
            missed *= ((self.gallery - self.relevant - drawn).double() / (self.gallery - drawn).clamp(min=1)).clamp(
                min=0
            )
        return float(1 - missed.mean())

    def chance_median(self) -> float:
        """Return the median over queries of the mean rank, (gallery + 1) / (relevant + 1), under a random order."""
        return float(((self.gallery + 1) / (self.relevant + 1)).double().quantile(0.5))


def best_rank(
    similarity: Tensor, relevant: Tensor, candidate: Tensor | None = None, ties: Ties = "pessimistic"
) -> Tensor:
    """Return the rank, int64 (Q,), of the most similar relevant item.

    Args:
        similarity: float64 (Q, G).
        relevant: bool (Q, G).
        candidate: bool (Q, G), the items that take part at all; all of them by default.
        ties: irrelevant items as similar as the relevant one stand before it ("pessimistic"), behind it
            ("optimistic"), or in the order of the gallery ("stable").
    """
    if candidate is not None:
        relevant = relevant & candidate
    finite = torch.isfinite(similarity)
    similarity = similarity.masked_fill(~finite, -torch.inf)
    wanted = similarity.masked_fill(~relevant, -torch.inf)
    best = wanted.amax(1, keepdim=True)
    rival = ~relevant if candidate is None else ~relevant & candidate
    equal = (similarity - best).abs() <= _EQUAL
    ahead = (similarity > best) & ~equal
    if ties == "pessimistic":
        ahead |= equal
    elif ties == "stable":
        place = torch.arange(similarity.shape[1], device=similarity.device)
        first = (relevant & equal).int().argmax(1, keepdim=True)
        ahead |= equal & (place < first)
    ahead |= ~torch.isfinite(best)  # none of the relevant items can be compared
    rank = 1 + (ahead & rival).sum(1)
    count = rival.sum(1) + relevant.sum(1)
    return torch.where(relevant.any(1), rank, count + 1)


def rank_pairs(
    query: Tensor,
    gallery: Tensor,
    *,
    items: Tensor | None = None,
    ties: Ties = "pessimistic",
    block: int = 512,
) -> Ranking:
    """Rank for query i the gallery's rows of the same item; both float (N, D), `items` int64 (N,), by default 0..N-1.

    Raises:
        UsageError: queries, gallery and items are not equally many.
    """
    count = gallery.shape[0]
    own = torch.arange(count) if items is None else items
    if not len(query) == count == len(own):
        raise UsageError(f"pairs need as many queries as gallery rows and items; got {len(query)}, {count}, {len(own)}")
    ranks, relevant = [], []
    for rows, similarity in _blocks(query, gallery, block):
        same = own[None] == own[rows][:, None]
        ranks.append(best_rank(similarity, same, ties=ties))
        relevant.append(same.sum(1))
    return Ranking(torch.cat(ranks), torch.cat(relevant), torch.full((count,), count))


def rank_classes(
    query: Tensor,
    gallery: Tensor,
    query_labels: Tensor,
    gallery_labels: Tensor,
    *,
    leave_out_own: bool = False,
    items: Tensor | None = None,
    ties: Ties = "pessimistic",
    block: int = 512,
) -> Ranking:
    """Rank the nearest gallery item of each query's class.

    Args:
        query: float (Q, D); gallery: float (G, D).
        query_labels: int64 (Q,); gallery_labels: int64 (G,); negative labels are relevant to nothing.
        leave_out_own: query i and gallery item i are the same recording, which takes no part.
        items: int64 (G,), rows that are one recording, which then takes no part as a whole.
        ties, block: as in `rank_pairs`.
    """
    ranks, relevant_counts, sizes = [], [], []
    place = torch.arange(gallery.shape[0]) if items is None else items
    for rows, similarity in _blocks(query, gallery, block):
        labels = query_labels[rows]
        relevant = (labels[:, None] == gallery_labels[None]) & (labels[:, None] >= 0)
        candidate = place[None] != place[rows][:, None] if leave_out_own else torch.ones_like(relevant)
        ranks.append(best_rank(similarity, relevant, candidate, ties))
        relevant_counts.append((relevant & candidate).sum(1))
        sizes.append(candidate.sum(1))
    return Ranking(torch.cat(ranks), torch.cat(relevant_counts), torch.cat(sizes))


@dataclass(frozen=True)
class RankedRelevance:
    """Which places of each query's ranking hold a relevant item.

    Attributes:
        relevant: bool (Q, G), place 0 first.
        counts: int64 (Q,), relevant items in the gallery.
    """

    relevant: Tensor
    counts: Tensor

    def average_precision(self, k: int | None = None, denominator: Denominator = "relevant") -> Tensor:
        """Return average precision (Q,), float64: the sum of the precisions at the relevant places, divided.

        Args:
            k: only the first k places count; None for all of them, where the three denominators agree.
            denominator: "relevant", all relevant items of the gallery, which k places may not hold; "reachable",
                min(k, relevant items); "hits", those among the first k: it rewards few hits placed early, and makes a
                figure of another size, which published code reports.
        """
        places = self.relevant[:, :k].double()
        rank = torch.arange(1, places.shape[1] + 1, device=places.device)
        total = (places * places.cumsum(1) / rank).sum(1)
        divisor = {
            "relevant": self.counts,
            "reachable": self.counts.clamp(max=places.shape[1]),
            "hits": places.sum(1),
        }[denominator]
        return total / divisor.clamp(min=1)

    def reciprocal_rank(self) -> Tensor:
        """Return 1 / rank of the first relevant item (Q,), float64; 0 where there is none."""
        first = self.relevant.int().argmax(1) + 1
        return torch.where(self.relevant.any(1), 1 / first.double(), 0.0)

    def precision(self, k: int) -> Tensor:
        """Return the share of relevant items among the first k (Q,), float64; divided by k, whatever the gallery."""
        return self.relevant[:, :k].sum(1).double() / k

    def hits(self, k: int) -> Tensor:
        """Return bool (Q,): is a relevant item among the first k?"""
        return self.relevant[:, :k].any(1)

    def interpolated_precision(self) -> Tensor:
        """Return (11,) precision at recall 0, 0.1 .. 1: the best there or beyond, a mean over non-empty queries."""
        found = self.relevant[self.counts > 0].double().cumsum(1)
        rank = torch.arange(1, found.shape[1] + 1, device=found.device)
        recall = found / self.counts[self.counts > 0][:, None]
        best = (found / rank).flip(1).cummax(1).values.flip(1)
        # The first place at which a level of recall is reached holds the best precision from there on.
        place = torch.stack([(recall < level / 10 - 1e-12).sum(1) for level in range(11)], 1)
        return best.gather(1, place).mean(0)

    def chance(self) -> Tensor:
        """Return the expected average precision (Q,) of a random order; it is above the share of relevant items.

        With r of G items relevant: sum over places n of (1 + (r-1)(n-1)/(G-1)) / n, divided by G.
        """
        gallery = self.relevant.shape[1]
        place = torch.arange(1, gallery + 1, dtype=torch.float64, device=self.relevant.device)
        others = (self.counts[:, None] - 1).double() / max(gallery - 1, 1)
        return torch.where(self.counts > 0, ((1 + others * (place - 1)) / place).sum(1) / gallery, 0.0)

    def chance_reciprocal_rank(self) -> Tensor:
        """Return the expected reciprocal rank (Q,) of a random order.

        The first relevant of r among G items is at place n with r / (G-n+1) times the share of orders without one
        before it.
        """
        gallery = self.relevant.shape[1]
        before = torch.arange(gallery, dtype=torch.float64, device=self.relevant.device)
        without = ((gallery - self.counts[:, None] - before) / (gallery - before)).clamp(min=0).cumprod(1)
        none_yet = torch.cat([torch.ones_like(without[:, :1]), without[:, :-1]], 1)
        return (none_yet * self.counts[:, None] / (gallery - before) / (before + 1)).sum(1)


def rank_relevance(similarity: Tensor, relevant: Tensor, ties: Ties = "pessimistic") -> RankedRelevance:
    """Order the relevance of a gallery by similarity; both (Q, G), relevance bool.

    Similarities are compared as they are: round them first where rounding noise must not decide. What is not finite
    comes last, irrelevant items first.
    """
    finite = torch.isfinite(similarity)
    similarity = similarity.masked_fill(~finite, -torch.inf)
    order = torch.arange(similarity.shape[1], device=similarity.device).expand_as(relevant)
    if ties != "stable":
        first = relevant if ties == "optimistic" else ~relevant
        order = order.gather(1, (~first).int().argsort(dim=1, stable=True))
    if not bool(finite.all()):
        order = order.gather(1, (relevant & ~finite).gather(1, order).int().argsort(dim=1, stable=True))
    ranked = order.gather(1, similarity.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return RankedRelevance(relevant.gather(1, ranked), relevant.sum(1))


def rank_by_cosine(
    query: Tensor,
    gallery: Tensor,
    query_labels: Tensor,
    gallery_labels: Tensor,
    *,
    ties: Ties = "pessimistic",
    block: int = 512,
) -> RankedRelevance:
    """Rank a gallery (G, D) for queries (Q, D) by cosine, in float64; labels int64, negative ones match nothing.

    Cosines are rounded to 1e-12 first, which is what float32 embeddings can resolve near one.
    """
    parts = []
    for rows, similarity in _blocks(query, gallery, block):
        labels = query_labels[rows][:, None]
        relevant = (labels == gallery_labels[None]) & (labels >= 0)
        parts.append(rank_relevance(similarity.mul(1e12).round(), relevant, ties))
    return RankedRelevance(torch.cat([part.relevant for part in parts]), torch.cat([part.counts for part in parts]))


def _blocks(query: Tensor, gallery: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (query positions, float64 cosine similarities (q, G)), a block of queries at a time."""
    unit = normalize(gallery.double(), dim=1)
    for part in torch.split(torch.arange(query.shape[0]), block):
        yield part, normalize(query[part].double(), dim=1) @ unit.T
