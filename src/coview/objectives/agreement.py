"""Cross-modal agreement: recordings that are alike in BOTH views, mined from two memories.

Morgado, Vasconcelos & Misra, CVPR 2021 (arXiv 2004.12943), section 4: for memories V, A of unit rows, the positives
of recording i are the rows j != i with the highest

    consensus min(V_i . V_j, A_i . A_j),   union the max of them,   video V_i . V_j,   audio A_i . A_j
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from coview.objectives.precision import in_float32
from coview.parallel import gather, rank, world_size

Criterion = Literal["consensus", "union", "video", "audio"]

QUERIES, CANDIDATES = 1 << 10, 1 << 14  # rows of the memories compared at once: 64 MiB of scores per view


@in_float32
def agreement(video: Tensor, audio: Tensor, criterion: Criterion) -> Tensor:
    """Return the agreement of scores `video` and `audio`, of one shape."""
    if criterion == "consensus":
        return torch.minimum(video, audio)
    if criterion == "union":
        return torch.maximum(video, audio)
    return video if criterion == "video" else audio


@torch.no_grad()
@in_float32
def mine_positives(video: Tensor, audio: Tensor, count: int, criterion: Criterion) -> Tensor:
    """Return the `count` most agreeing rows of every row, int64 (N, count), ascending; never the row itself.

    Exact, in blocks on the memories' device; nothing of size N x N is held. Every process mines a share of the blocks.
    The blocks do not depend on the number of processes, so that the table is the same to the bit.

    Args:
        video, audio: (N, D), unit rows, equal on all processes.
        count: below N.
    """
    starts = range(0, len(video), QUERIES)
    own = [
        _mine(
            video, audio, torch.arange(first, min(first + QUERIES, len(video)), device=video.device), count, criterion
        )
        for first in starts[rank() :: world_size()]
    ]
    empty = torch.empty(0, count, dtype=torch.int64, device=video.device)
    mined = gather(torch.cat([empty, *own]))
    # Process r has mined blocks r, r + W, ...: put their rows back in order.
    rows = torch.arange(len(video), device=video.device)
    dealt = torch.cat([rows[(rows // QUERIES) % world_size() == process] for process in range(world_size())])
    return mined[dealt.argsort()]


def _mine(video: Tensor, audio: Tensor, row: Tensor, count: int, criterion: Criterion) -> Tensor:
    best = video.new_empty(len(row), 0)
    index = row.new_empty(len(row), 0)
    for first in range(0, len(video), CANDIDATES):
        part = slice(first, first + CANDIDATES)
        scores = agreement(video[row] @ video[part].T, audio[row] @ audio[part].T, criterion)
        place = torch.arange(first, first + scores.shape[1], device=row.device).expand_as(scores)
        scores = scores.masked_fill(place == row[:, None], -torch.inf)
        best, order = torch.cat([best, scores], 1).topk(min(count, best.shape[1] + scores.shape[1]), dim=1)
        index = torch.cat([index, place], 1).gather(1, order)
    return index.sort(1).values


def outside(draw: Tensor, left_out: Tensor) -> Tensor:
    """Map draws onto the rows that are not left out, one to one and in order.

    Args:
        draw: int64 (N, K) in [0, M - E) for M rows.
        left_out: int64 (N, E), ascending, different.

    Returns:
        int64 (N, K) in [0, M).
    """
    # The t-th row left out pushes up every draw that reaches it: r >= p_t - t.
    reached = left_out - torch.arange(left_out.shape[1], device=left_out.device)
    return draw + torch.searchsorted(reached, draw.contiguous(), right=True)
