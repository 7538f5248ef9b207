"""Columns of many recordings in little memory, which reading processes share instead of receiving copies.

Everything lies in a few tensors: when a source is sent to a process, torch moves their memory to where both see it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack

from coview.data.tables import in_one_piece


class Words:
    """A column of texts, some of which may be missing: where each begins, and the bytes of all in one piece."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._filled = torch.from_numpy(np.array(column.is_valid().to_numpy(), dtype=bool))
        whole = in_one_piece(pc.fill_null(pc.cast(column, pa.large_string()), ""))
        _, ends, data = whole.buffers()
        offsets = pa.Array.from_buffers(pa.int64(), len(whole) + 1, [None, ends], offset=whole.offset)
        # The memory of the table itself: copies of a million names and places would double what a source takes.
        self._offsets = from_dlpack(offsets)
        self._bytes = from_dlpack(pa.Array.from_buffers(pa.uint8(), data.size if data else 0, [None, data]))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> str | None:
        if not self._filled[row]:
            return None
        first, last = self._offsets[row : row + 2].tolist()
        return self._bytes[first:last].numpy().tobytes().decode()

    def arrow(self) -> pa.Array:
        """Return the column, with "" for what is missing."""
        buffers = [None, *(pa.py_buffer(part.numpy()) for part in (self._offsets, self._bytes))]
        return pa.Array.from_buffers(pa.large_string(), len(self), buffers)

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which texts are there and not empty."""
        return self._filled.numpy() & (np.diff(self._offsets.numpy()) > 0)


def numbers(column: pa.ChunkedArray, missing: float = 0) -> torch.Tensor:
    """Return a column of numbers as a tensor, in the memory of the table where nothing is missing."""
    whole = in_one_piece(column)
    return from_dlpack(pc.fill_null(whole, missing) if whole.null_count else whole)


def facts(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """Return a column of truths; a missing one is False."""
    return np.array(pc.fill_null(table.column(name), False).to_numpy(), dtype=bool)
