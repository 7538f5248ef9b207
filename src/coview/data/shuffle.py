"""The control of every claim about pairs: the same recordings, with the pairing of their views broken for good."""

from __future__ import annotations

import dataclasses
import hashlib

import torch
from torch import Tensor

from coview.data.order import permute
from coview.data.source import Source
from coview.data.views import Batch, VideoView
from coview.errors import UsageError


class ShuffledPairs:
    """A source whose samples take their picture from one recording and every other view from another.

    The other recording is fixed by the seed: the recordings are put on one circle in a random order, and each takes
    the next one's sound, so that none keeps its own and none is used twice. Row, label, key and the windows follow the
    picture (the first video view, or the first view where there is none).

    Raises:
        UsageError: fewer than two recordings or views.
    """

    def __init__(self, source: Source, seed: int) -> None:
        if len(source) < 2 or len(source.views) < 2:
            raise UsageError(f"{source.name}: shuffled pairs need at least two recordings and two views")
        self.source = source
        self.name = f"{source.name} (shuffled)"
        self.views = source.views
        self.ids, self.labels, self.classes = source.ids, source.labels, source.classes
        self.fingerprint = hashlib.sha256(f"{source.fingerprint} shuffled {seed}".encode()).hexdigest()[:16]
        self.in_one_pass: bool = getattr(source, "in_one_pass", False)
        self.lacking: dict[str, int] = getattr(source, "lacking", {})
        pictures = [name for name, view in source.views.items() if isinstance(view, VideoView)]
        self._kept = pictures[0] if pictures else next(iter(source.views))
        circle = permute(torch.arange(len(source)), len(source), seed, 0)
        self.partner = torch.empty_like(circle)
        self.partner[circle] = circle.roll(-1)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`; the partner is that of the recording really read."""
        batch = self.source.read(row, key)
        return self._join(batch, self.source.read(self.partner.to(batch.row.device)[batch.row], key))

    def windows(self, count: int) -> int:
        """See `Source.windows`."""
        return self.source.windows(count)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """See `Source.read_window`."""
        batch = self.source.read_window(row, window, count)
        other = self.partner.to(row.device)[row]
        return self._join(batch, self.source.read_window(other, window, count))

    def _join(self, batch: Batch, other: Batch) -> Batch:
        def pick(name: str) -> Batch:
            return batch if name == self._kept else other

        return dataclasses.replace(
            batch,
            views={name: pick(name).views[name] for name in batch.views},
            start={name: pick(name).start[name] for name in batch.start},
            present={name: pick(name).present[name] for name in batch.present},
            mirrorable=batch.mirrorable & other.mirrorable,  # the other may lend a second picture
            replaced=[*batch.replaced, *other.replaced],
        )
