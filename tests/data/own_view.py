"""A kind of view that coview does not know: one file, as a stranger would write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from coview.data.views import ViewSpec, register_view


@register_view
@dataclass(frozen=True, kw_only=True)
class TickView(ViewSpec):
    """Ticks of a clock: whole numbers as they are stored, tenths as a method sees them."""

    stream: Literal["tick"] = "tick"
    count: int = 5

    dtype: ClassVar[torch.dtype] = torch.int64
    stored_dtype: ClassVar[type[np.generic]] = np.int64

    @property
    def seconds(self) -> float:
        return 0.0

    @property
    def raw_shape(self) -> tuple[int, ...]:
        return (self.count,)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count,)

    @property
    def stored(self) -> dict[str, Any]:
        return {"count": self.count}

    def has(self, recordings: Any) -> Any:
        return np.zeros(len(recordings), dtype=bool)

    def prepare(self, raw: Tensor, key: Any, mirrorable: Any, augment: Any, statistics: Any) -> Tensor:
        return raw / 10

    def words(self, raw: Tensor) -> str:
        return " ".join(str(tick) for tick in raw.tolist())
