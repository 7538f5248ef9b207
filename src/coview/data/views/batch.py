"""The batch: samples of several views, on their way from a source to a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

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
        epoch, epochs: whole epochs passed, and planned; schedules inside a method read these.
        replaced: (row, reason) of every sample that could not be read and was replaced by another.
        whole: views that all samples have, as far as the host knows: noted where a batch leaves it (`to`).
    """

    views: dict[str, Tensor]
    row: Tensor
    key: Tensor
    start: dict[str, Tensor] = field(default_factory=dict)
    present: dict[str, Tensor] = field(default_factory=dict)
    label: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    mirrorable: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    epoch: int = 0
    epochs: int = 1
    replaced: list[tuple[int, str]] = field(default_factory=list)
    whole: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in self.views:
            self.present.setdefault(name, torch.ones(len(self), dtype=torch.bool, device=self.row.device))
        if self.label.numel() == 0:
            self.label = torch.full_like(self.row, -1)
        if self.mirrorable.numel() == 0:
            self.mirrorable = torch.ones_like(self.row, dtype=torch.bool)

    def __len__(self) -> int:
        return self.row.shape[0]

    def has_all(self, name: str) -> bool:
        """Return whether every sample has a view; does not wait for a device where the host knows."""
        return name in self.whole or bool(self.present[name].all())

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`; copies do not block where memory is pinned."""

        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        return dataclasses.replace(
            self,
            views=move(self.views),
            row=self.row.to(device, non_blocking=True),
            key=self.key.to(device, non_blocking=True),
            start=move(self.start),
            present=move(self.present),
            label=self.label.to(device, non_blocking=True),
            mirrorable=self.mirrorable.to(device, non_blocking=True),
            whole=self._known() if torch.device(device).type != "cpu" else frozenset(),
        )

    def _known(self) -> frozenset[str]:
        if self.row.device.type != "cpu":
            return self.whole
        return frozenset(name for name, present in self.present.items() if bool(present.all()))

    def select(self, index: Tensor | slice) -> Batch:
        """Return the samples named by `index` (a slice, int64 positions or a bool mask), with all their fields."""

        def pick(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[index] for name, tensor in tensors.items()}

        return dataclasses.replace(
            self,
            views=pick(self.views),
            row=self.row[index],
            key=self.key[index],
            start=pick(self.start),
            present=pick(self.present),
            label=self.label[index],
            mirrorable=self.mirrorable[index],
            replaced=list(self.replaced),
        )
