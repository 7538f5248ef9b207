"""What a kept model says of its towers that came from a folder (`learning`), so that it needs the folder no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

from coview.encoders.base import Encoder
from coview.errors import UsageError

Towers = Mapping[str, Mapping[str, dict[str, Any]]]  # folder -> kind of view -> `hugging_plain.Described`
_KNOWN: ContextVar[Towers | None] = ContextVar("towers of a kept model", default=None)


def descriptions(networks: nn.Module) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what describes the towers among some networks, plain values: folder -> kind of view -> description."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part in networks.modules():
        if isinstance(part, Encoder) and part.origin is not None:
            folder, stream, described = part.origin
            found.setdefault(folder, {})[stream] = described
    return found


@contextmanager
def described_by(towers: Towers) -> Iterator[None]:
    """Build towers that `towers` describes without their folders, with fresh weights: a kept model has its own."""
    before = _KNOWN.set(towers)
    try:
        yield
    finally:
        _KNOWN.reset(before)


def known_tower(folder: str, stream: str) -> dict[str, Any] | None:
    """Return what the kept model that is read says of a folder's tower; None where none is read.

    Raises:
        UsageError: it says nothing of it; a stranger's model opens no folder here.
    """
    towers = _KNOWN.get()
    if towers is None:
        return None
    if stream not in towers.get(folder, {}):
        raise UsageError(f"towers: does not say what hf:{folder} is of {stream}; keep the model anew, from its run")
    return towers[folder][stream]
