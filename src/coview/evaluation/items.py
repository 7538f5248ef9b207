"""Which rows are one item: several captions of one film, or copies of a file, are found when any of them is."""

from __future__ import annotations

import torch
from torch import Tensor

from coview.data.source import Source


def items_of(source: Source) -> Tensor:
    """Return for every row the first row of the same item, int64 (rows,).

    Rows are one item where they share a group, a file's bytes or a file's decoded content, as far as the source knows
    these (`groups`, `digests`, `contents`); in turn, so that a copy's caption belongs to the first file too.
    """
    first = list(range(len(source)))

    def root(row: int) -> int:
        while first[row] != row:
            first[row] = first[first[row]]
            row = first[row]
        return row

    for column in ("groups", "digests", "contents"):
        seen: dict[str, int] = {}
        for row, value in enumerate(getattr(source, column, None) or ()):
            if value:
                one, other = root(row), root(seen.setdefault(value, row))
                first[max(one, other)] = min(one, other)
    return torch.tensor([root(row) for row in range(len(first))], dtype=torch.int64)
