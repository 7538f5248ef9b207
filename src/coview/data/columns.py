"""Columns of many recordings in little memory, which reading processes share instead of receiving copies.

Everything lies in a few tensors: when a source is sent to a process, torch moves their memory to where both see it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray


class Words:
    """A column of texts, some of which may be missing: where each begins, and the bytes of all in one piece."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._filled = torch.from_numpy(np.array(column.is_valid().to_numpy(), dtype=bool))
        offsets, pieces, before = [np.zeros(1, np.int64)], [np.zeros(0, np.uint8)], 0
        for part in pc.fill_null(pc.cast(column, pa.large_string()), "").chunks:
            if not len(part):
                continue
            _, ends, data = part.buffers()
            place = np.frombuffer(ends, np.int64)[part.offset : part.offset + len(part) + 1]
            pieces.append(np.frombuffer(data or b"", np.uint8)[place[0] : place[-1]])
            offsets.append(place[1:] - place[0] + before)
            before += int(place[-1] - place[0])
        self._offsets = torch.from_numpy(np.concatenate(offsets))
        self._bytes = torch.from_numpy(np.concatenate(pieces))

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


def facts(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """Return a column of truths; a missing one is False."""
    return np.array(pc.fill_null(table.column(name), False).to_numpy(), dtype=bool)
