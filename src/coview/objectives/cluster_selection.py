"""Which clusters of patches to keep: those that cover the pictures well, and none twice.

Doersch, Gupta & Efros, ECCV 2014. A cluster here is what its members score: picture -> score, one member a picture.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from coview.objectives.patch_descriptors import box_overlap

Scores = Mapping[int, float]  # picture -> what its member scores


def select(clusters: Sequence[Scores], count: int) -> list[int]:
    """Return up to `count` clusters that greedily maximise sum_i sum_j 2^-j s_ij, in the order in which they are taken.

    s_ij is the j-th best score in picture i over all clusters taken, j from 1; scores below 0 count nothing. What a
    cluster adds only falls while others are taken, so what it added when last asked is a bound.
    """
    taken: defaultdict[int, list[float]] = defaultdict(list)  # picture -> scores, best first
    heap = [(-_gain(scores, taken), number) for number, scores in enumerate(clusters)]
    heapq.heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < count:
        bound, number = heapq.heappop(heap)
        gain = _gain(clusters[number], taken)
        if heap and -gain > heap[0][0]:
            heapq.heappush(heap, (-gain, number))
            continue
        if bound == 0 and gain == 0 and chosen:  # nothing that is left adds anything
            break
        chosen.append(number)
        for picture, score in clusters[number].items():
            taken[picture] = sorted([*taken[picture], max(score, 0.0)], reverse=True)
    return chosen


def _gain(scores: Scores, taken: Mapping[int, Sequence[float]]) -> float:
    return sum(
        _worth(sorted([*there, max(score, 0.0)], reverse=True)) - _worth(there)
        for picture, score in scores.items()
        for there in [taken.get(picture, ())]
    )


def _worth(ordered: Sequence[float]) -> float:
    return sum(score * 2.0**-rank for rank, score in enumerate(ordered, 1))


def total(scores: Scores) -> float:
    """Return what a cluster is ranked by: the sum of its positive scores."""
    return sum(max(score, 0.0) for score in scores.values())


def without_copies(
    members: Sequence[tuple[Sequence[int], Tensor]], overlap: float = 0.2, allowed: int = 12
) -> list[int]:
    """Return the clusters that are left when those are dropped that show what a better one shows.

    A cluster goes where more than `allowed` of its members overlap a member of the clusters kept before it.

    Args:
        members: of each cluster, best first: the members' pictures, and their boxes (M, 4).
        overlap: intersection over union above which two boxes show the same.
    """
    kept: list[int] = []
    there: defaultdict[int, list[Tensor]] = defaultdict(list)
    for number, (pictures, boxes) in enumerate(members):
        again = sum(
            bool((box_overlap(box[None], torch.stack(there[picture])) > overlap).any())
            for picture, box in zip(pictures, boxes, strict=True)
            if there[picture]
        )
        if again > allowed:
            continue
        kept.append(number)
        for picture, box in zip(pictures, boxes, strict=True):
            there[picture].append(box)
    return kept
