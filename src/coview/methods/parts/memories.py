"""Memories of the methods that score against what they saw of other recordings."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from coview.errors import UsageError
from coview.methods.contract import Facts
from coview.objectives.memory_bank import MemoryBank


def need_rows(facts: Facts, needed: int, sentence: str) -> None:
    """Check that there are recordings enough to learn from; a method that only embeds needs none.

    Raises:
        UsageError: there are not: the sentence, and how many there are.
    """
    if facts.training and facts.rows < needed:
        raise UsageError(f"{sentence}, found {facts.rows}")


def fewer_clusters(wanted: int, rows: int) -> int:
    """Return how many clusters `rows` recordings are put into: those that are wanted, else one for four recordings."""
    return wanted if wanted <= rows else max(2, rows // 4)


def banks_of(views: Iterable[str], facts: Facts, dim: int, momentum: float) -> nn.ModuleDict:
    """Return view -> memory of all recordings; none where the method is built to embed."""
    banks = nn.ModuleDict()
    if facts.training:
        for seed, name in enumerate(views):
            banks[name] = MemoryBank(facts.rows, dim, momentum, seed)
    return banks
