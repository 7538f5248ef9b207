"""Retrieval between and within views, exact: where does the wanted recording stand among all recordings?

Similarity is the cosine, in float64. Similarities closer than 1e-12 count as equal, which is what float32 embeddings
can resolve near one; so an embedding that has collapsed to a point shows ties, and the pessimistic rule gives it no
hit at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

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
    rank = 1 + (ahead & rival).sum(1)
    count = rival.sum(1) + relevant.sum(1)
    return torch.where(relevant.any(1), rank, count + 1)


def rank_pairs(query: Tensor, gallery: Tensor, *, ties: Ties = "pessimistic", block: int = 512) -> Ranking:
    """Rank item i of the gallery, the only relevant one, for query i; both float (N, D)."""
    count = gallery.shape[0]
    own = torch.arange(count)
    ranks = [
        best_rank(similarity, own[None] == own[rows][:, None], ties=ties)
        for rows, similarity in _blocks(query, gallery, block)
    ]
    return Ranking(torch.cat(ranks), torch.ones(count, dtype=torch.int64), torch.full((count,), count))


def rank_classes(
    query: Tensor,
    gallery: Tensor,
    query_labels: Tensor,
    gallery_labels: Tensor,
    *,
    leave_out_own: bool = False,
    ties: Ties = "pessimistic",
    block: int = 512,
) -> Ranking:
    """Rank the nearest gallery item of each query's class.

    Args:
        query: float (Q, D); gallery: float (G, D).
        query_labels: int64 (Q,); gallery_labels: int64 (G,); negative labels are relevant to nothing.
        leave_out_own: query i and gallery item i are the same recording, which takes no part.
        ties, block: as in `rank_pairs`.
    """
    ranks, relevant_counts, sizes = [], [], []
    place = torch.arange(gallery.shape[0])
    for rows, similarity in _blocks(query, gallery, block):
        labels = query_labels[rows]
        relevant = (labels[:, None] == gallery_labels[None]) & (labels[:, None] >= 0)
        candidate = place[None] != rows[:, None] if leave_out_own else torch.ones_like(relevant)
        ranks.append(best_rank(similarity, relevant, candidate, ties))
        relevant_counts.append((relevant & candidate).sum(1))
        sizes.append(candidate.sum(1))
    return Ranking(torch.cat(ranks), torch.cat(relevant_counts), torch.cat(sizes))


def _blocks(query: Tensor, gallery: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (query positions, float64 cosine similarities (q, G)), a block of queries at a time."""
    unit = normalize(gallery.double(), dim=1)
    for part in torch.split(torch.arange(query.shape[0]), block):
        yield part, normalize(query[part].double(), dim=1) @ unit.T
