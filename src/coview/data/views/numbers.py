"""What views of plain numbers share: features and series have no picture or sound to augment."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.views.spec import Statistics, ViewSpec


class NumbersView(ViewSpec):
    """A view whose last dimension is `dim` numbers: as they are, or each by its mean and deviation in the data."""

    dim: int
    normalise: str

    alone: ClassVar[bool] = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return self.raw_shape

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """See `ViewSpec.prepare`."""
        return raw if statistics is None else (raw - statistics[0]) / statistics[1]

    @property
    def statistics(self) -> Statistics | None:
        """See `ViewSpec.statistics`: none to speak of, until the data's own are known."""
        return None if self.normalise == "none" else (torch.zeros(self.dim), torch.ones(self.dim))

    def values(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.values`: a row for every vector, or every step of a sequence."""
        return raw.flatten(0, -2)
