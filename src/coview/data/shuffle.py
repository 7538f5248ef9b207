"""The control of every claim about pairs: the same recordings, with the pairing of their views broken for good."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.order import permute
from coview.data.source import Source, cropped, narrowed
from coview.data.views import Batch, ViewSpec, cut_from
from coview.errors import UsageError


class ShuffledPairs:
    """A source whose samples take every kind of view from a recording of its own.

    Views of one kind (pictures of any sort; sounds; captions; each view of stored features) stay together, so that a
    second clip of the picture is no true pair with the sound; where there is but one kind, each view is one. The other
    recordings are fixed by the seed: the recordings are put on one circle in a random order, and the second kind comes
    from the next one, the third from the one after, so that none keeps its own and none is used twice. Row, label, key
    and the windows follow the picture (or the first view, where there is none).

    Attributes:
        partner: int64 (recordings,), whose views of the second kind each takes.

    Raises:
        UsageError: fewer than two views, or fewer recordings than kinds.
    """

    def __init__(self, source: Source, seed: int) -> None:
        if len(source.views) < 2:
            raise UsageError(f"{source.name}: shuffled pairs need at least two views")
        self._place = _kinds(source.views)
        self._count = max(self._place.values()) + 1
        if len(source) < self._count:
            raise UsageError(f"{source.name}: shuffled pairs need at least {self._count} recordings")
        self.source = source
        # Each reads what is kept of it alone.
        kept = [{name for name, kind in self._place.items() if kind == number} for number in range(self._count)]
        self._parts = [narrowed(source, views) for views in kept]
        self.name = f"{source.name} (shuffled)"
        self.views = source.views
        self.ids, self.labels, self.classes = source.ids, source.labels, source.classes
        self.fingerprint = hashlib.sha256(f"{source.fingerprint} shuffled {seed}".encode()).hexdigest()[:16]
        self.in_one_pass: bool = getattr(source, "in_one_pass", False)
        self.lacking: dict[str, int] = getattr(source, "lacking", {})
        circle = permute(torch.arange(len(source)), len(source), seed, 0)
        self.partner = torch.empty_like(circle)
        self.partner[circle] = circle.roll(-1)

    def __len__(self) -> int:
        return len(self.source)

    def cropped(self, views: Mapping[str, ViewSpec], augment: AugmentSettings) -> ShuffledPairs:
        """See `source.cropped`; each crop comes from the recording of the view that it is a crop of."""
        part = copy.copy(self)
        part._parts = [cropped(one, views, augment) for one in self._parts]
        part.views = {name: spec for one in part._parts for name, spec in one.views.items()}
        part._place = {name: self._place[cut_from(name, views.get(name, spec))] for name, spec in part.views.items()}
        return part

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`; the partners are those of the recording really read."""
        first = self._parts[0].read(row, key)
        others = zip(self._parts[1:], self._others(first.row), strict=True)
        return self._join([first, *(part.read(other, key) for part, other in others)])

    def windows(self, count: int) -> int:
        """See `Source.windows`."""
        return self.source.windows(count)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """See `Source.read_window`."""
        rows = zip(self._parts, (row, *self._others(row)), strict=True)
        return self._join([part.read_window(one, window, count) for part, one in rows])

    def _others(self, row: Tensor) -> list[Tensor]:
        """Return the recordings of the second kind, the third, ..."""
        others, partner = [row], self.partner.to(row.device)
        for _ in range(self._count - 1):
            others.append(partner[others[-1]])
        return others[1:]

    def _join(self, batches: list[Batch]) -> Batch:
        def pick(name: str) -> Batch:
            return batches[self._place[name]]

        first = batches[0]
        return dataclasses.replace(
            first,
            views={name: pick(name).views[name] for name in self.views},
            start={name: pick(name).start[name] for name in self.views},
            present={name: pick(name).present[name] for name in self.views},
            length={name: pick(name).length[name] for name in self.views if name in pick(name).length},
            mirrorable=torch.stack([one.mirrorable for one in batches]).all(0),  # another may lend a picture
            replaced=[problem for one in batches for problem in one.replaced],
            cropped=frozenset(name for name in self.views if name in pick(name).cropped),
        )


def _kinds(views: Mapping[str, ViewSpec]) -> dict[str, int]:
    """Return the number of every view's kind; pictures are 0, or else the first view."""
    pictures = [name for name, view in views.items() if view.square]
    others = {name: name if view.alone else view.stream for name, view in views.items()}
    kind = dict.fromkeys(pictures, "picture") | {name: others[name] for name in views if name not in pictures}
    if len(set(kind.values())) == 1:
        kind = {name: name for name in views}
    number = {one: k for k, one in enumerate(dict.fromkeys(kind.values()))}
    return {name: number[kind[name]] for name in views}
