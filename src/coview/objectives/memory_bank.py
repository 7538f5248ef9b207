"""A memory bank: one remembered, normalised embedding per recording, the same on every process.

Wu et al. 2018 (arXiv 1805.01978), section 3.2; the momentum form of AVID (arXiv 2004.12943) and xID.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from coview.objectives.precision import in_float32
from coview.parallel import gather
from coview.randomness import integers, make_key, normal

CHUNK = 1 << 14  # rows of the bank looked at together


class MemoryBank(nn.Module):
    """Embeddings (rows, dim) of unit length that change by `update` alone, never by a gradient.

    Rows start as normalised normal vectors that depend on (seed, row) alone, so that no process has to be told.
    State under another number of processes: replicate.

    Attributes:
        memory: the buffer, (rows, dim).
    """

    memory: Tensor

    def __init__(self, rows: int, dim: int, momentum: float, seed: int) -> None:
        super().__init__()
        self.momentum = momentum
        chunks = [normal(make_key(seed, part), 0, dim) for part in torch.split(torch.arange(rows), CHUNK)]
        self.register_buffer("memory", normalize(torch.cat(chunks), dim=1))

    def draw(self, key: Tensor, row: Tensor, count: int) -> Tensor:
        """Draw `count` rows (B, count) for every sample, uniform with replacement over all rows but its own."""
        drawn = integers(key, 0, self.memory.shape[0] - 1, count)
        return drawn + (drawn >= row[:, None])

    @in_float32
    def scores(self, query: Tensor, rows: Tensor) -> Tensor:
        """Return the products (B, K) of query (B, D) with the remembered `rows` (B, K); the gradient is the query's."""
        if self.memory.shape[0] <= 16 * rows.shape[1]:
            # One product with a small bank is cheaper than K copied rows per query.
            return (query @ self.memory.T).gather(1, rows)
        chosen = self.memory.index_select(0, rows.flatten()).view(*rows.shape, query.shape[1])  # 6 x faster than [rows]
        return torch.bmm(chosen, query[:, :, None])[:, :, 0]

    @torch.no_grad()
    @in_float32
    def nearest(self, query: Tensor, row: Tensor, count: int) -> Tensor:
        """Return the `count` rows (B, count) nearest to query (B, D), the samples' own `row` (B,) left out, best first.

        The bank is walked in chunks: what is held at once is (B, CHUNK) scores.
        """
        best = query.new_empty(query.shape[0], 0)
        index = row.new_empty(query.shape[0], 0)
        for start in range(0, self.memory.shape[0], CHUNK):
            part = self.memory[start : start + CHUNK]
            place = torch.arange(start, start + part.shape[0], device=row.device).expand(query.shape[0], -1)
            scores = (query @ part.T).nan_to_num(nan=-torch.inf).masked_fill(place == row[:, None], -torch.inf)
            best, order = torch.cat([best, scores], 1).topk(min(count, best.shape[1] + part.shape[0]), dim=1)
            index = torch.cat([index, place], 1).gather(1, order)
        return index

    @torch.no_grad()
    def update(self, row: Tensor, embedding: Tensor) -> None:
        """Move the rows of all processes' samples: M[row] <- normalise(momentum M[row] + (1 - momentum) embedding).

        Args:
            row: int64 (N_r,). Of several samples of one row, the last in global order counts alone.
            embedding: (N_r, D), of any length; N_r may differ between processes and be 0. Rows that are not finite
                are passed over: the bank keeps what it remembers of them.
        """
        embedding = normalize(embedding.to(self.memory.dtype), dim=1)
        finite = embedding.isfinite().all(1)
        row, embedding = gather(row[finite]), gather(embedding[finite])
        ordered, order = row.sort(stable=True)
        last = torch.ones_like(ordered, dtype=torch.bool)
        last[:-1] = ordered[1:] != ordered[:-1]
        row, embedding = row[order[last]], embedding[order[last]]
        moved = self.momentum * self.memory[row] + (1 - self.momentum) * embedding
        self.memory[row] = normalize(moved, dim=1)

    def extra_repr(self) -> str:
        """Describe the bank in the printed module."""
        rows, dim = self.memory.shape
        return f"rows={rows}, dim={dim}, momentum={self.momentum}"
