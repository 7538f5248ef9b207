"""The batch: samples of several views, on their way from a source to a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(kw_only=True)
class Batch:
    """Samples of several views; B samples.

    Attributes:
        views: name -> tensor with first dimension B; raw or model views. Rows that are absent are zero-filled and
            must not be looked at: `present` says so.
        row: int64 (B,), position of the recording in the collection (the slot of a memory bank).
        key: int64 (B,), hash of (seed, epoch, position); every random choice about the sample is drawn from it.
        start: name -> float64 (B,), where the view begins, in seconds of the recording's clock.
        present: name -> bool (B,).
        label: int64 (B,), -1 where the recording has no label.
        mirrorable: bool (B,), False where left and right of the picture must stay: its mirror image means something
            else (a letter, a hand).
        length: name -> int64 (B,), how many steps of a sequence are valid, from the first one on; only of sequences.
        epoch, epochs: whole epochs passed, and planned; schedules inside a method read these.
        step, steps: optimiser steps done before this batch, and planned; 0 planned where there is no plan.
        replaced: (row, reason) of every sample that could not be read and was replaced by another.
        said: sentences for people, about reading itself.
        cropped: raw views that are random crops already, cut from the file.
        whole: views that all samples have, as far as the host knows: noted where a batch leaves it (`to`).
    """

    views: dict[str, Tensor]
    row: Tensor
    key: Tensor
    start: dict[str, Tensor] = field(default_factory=dict)
    present: dict[str, Tensor] = field(default_factory=dict)
    label: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    mirrorable: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    length: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    epochs: int = 1
    step: int = 0
    steps: int = 0
    replaced: list[tuple[int, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    cropped: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in self.views:
            self.present.setdefault(name, torch.ones_like(self.row, dtype=torch.bool))
        if self.label.numel() == 0:
            self.label = torch.full_like(self.row, -1)
        if self.mirrorable.numel() == 0:
            self.mirrorable = torch.ones_like(self.row, dtype=torch.bool)

    def __len__(self) -> int:
        return self.row.shape[0]

    def has_all(self, name: str) -> bool:
        """Return whether every sample has a view; does not wait for a device where the host knows."""
        return name in self.whole or bool(self.present[name].all())

    def map(self, change: Callable[..., Tensor], *others: Batch) -> Batch:
        """Return the batch with every tensor changed; `change` is given this batch's and those of `others`.

        What is no tensor (epoch, step, replaced, cropped, whole) is this batch's own.
        """

        def each(name: str) -> Any:
            mine, theirs = getattr(self, name), [getattr(other, name) for other in others]
            if isinstance(mine, Tensor):
                return change(mine, *theirs)
            return {view: change(value, *(their[view] for their in theirs)) for view, value in mine.items()}

        return dataclasses.replace(self, replaced=list(self.replaced), **{name: each(name) for name in _TENSORS})

    def mask(self, name: str) -> Tensor:
        """Return bool (B, steps): which steps of a sequence are valid; all where nothing is known of its length."""
        steps = torch.arange(self.views[name].shape[1], device=self.row.device)
        length = self.length.get(name)
        return steps < (torch.full_like(self.row, len(steps)) if length is None else length)[:, None]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`; copies do not block where memory is pinned."""
        moved = self.map(lambda tensor: tensor.to(device, non_blocking=True))
        moved.whole = self._known() if torch.device(device).type != "cpu" else frozenset()
        return moved

    def _known(self) -> frozenset[str]:
        if self.row.device.type != "cpu":
            return self.whole
        return frozenset(name for name, present in self.present.items() if bool(present.all()))

    def select(self, index: Tensor | slice) -> Batch:
        """Return the samples named by `index` (a slice, int64 positions or a bool mask), with all their fields."""
        return self.map(lambda tensor: tensor[index])


# The fields that are tensors or hold them.
_TENSORS = ("views", "row", "key", "start", "present", "label", "mirrorable", "length")
