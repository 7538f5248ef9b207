"""Audio-visual correspondence: do a picture and a sound belong together?

Arandjelovic & Zisserman, "Look, Listen and Learn", ICCV 2017 (arXiv 1705.08168), section 2; the batch form, in which
every picture is shown once with its own sound and once with that of another recording.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from coview.objectives.precision import in_float32
from coview.randomness import integers


@torch.no_grad()
def draw_mismatched(key: Tensor, row: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Draw for each sample another one of a DIFFERENT recording, uniformly; not the same recording at another time.

    Args:
        key: int64 (N,), each sample's own.
        row: int64 (N,), the samples' recordings.
        rows: int64 (M,), the recordings of all candidates, in an order that all processes share.

    Returns:
        int64 (N,), positions in `rows`, and bool (N,), false where every candidate is of the same recording.
    """
    others = row[:, None] != rows
    count = others.sum(1)
    wanted = integers(key, 0, count.clamp(min=1))
    place = (others.cumsum(1) > wanted[:, None]).int().argmax(1)
    return place, count > 0


@in_float32
def correspondence(logits: Tensor, match: bool) -> Tensor:
    """Return the two-way cross-entropy (N,) of logits (N, 2), column 1 for "they correspond"; ln 2 at chance."""
    return cross_entropy(logits, torch.full_like(logits[:, 0], int(match), dtype=torch.int64), reduction="none")
