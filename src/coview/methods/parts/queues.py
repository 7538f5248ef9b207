"""The last embeddings of a view, of all processes: further negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Queue(nn.Module):
    """The last `size` embeddings, newest first, and whose they are; equal on all processes.

    State under another number of processes: replicate. Buffers `values` (size, dim), and `rows` int64 (size,), the
    recording of each, -1 where nothing stands yet.
    """

    values: Tensor
    rows: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(size, dim))
        self.register_buffer("rows", torch.full((size,), -1, dtype=torch.int64))

    def apart(self, rows: Tensor) -> Tensor:
        """Return bool (N, size): what stands there is not of the recording of `rows` (N,)."""
        return (self.rows >= 0) & (self.rows != rows[:, None])

    @torch.no_grad()
    def push(self, values: Tensor, rows: Tensor) -> None:
        """Put embeddings (M, dim) of the recordings `rows` (M,), of all processes, in front."""
        size = len(self.rows)
        self.values.copy_(torch.cat([values.to(self.values), self.values])[:size])
        self.rows.copy_(torch.cat([rows, self.rows])[:size])
