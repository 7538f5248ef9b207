"""Features: numbers that were computed before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from coview.data.views.kinds import register_view
from coview.data.views.numbers import NumbersView
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.data.timeline import Timelines


@register_view
@dataclass(frozen=True, kw_only=True)
class FeaturesView(NumbersView):
    """A vector that was computed before, such as the features of a frozen encoder; or a sequence of them.

    Raw and model: float32 (dim,), or (steps, dim) for a sequence, whose valid steps `Batch.length` counts; those after
    them are zero.
    """

    stream: Literal["features"] = "features"  # numbers that were computed before
    dim: int  # length of a vector
    steps: int = 0  # 0: one vector
    normalise: Literal["none", "statistics"] = "none"  # as they are, or each number by its mean and deviation

    def __post_init__(self) -> None:
        if self.dim < 1 or self.steps < 0:
            raise ValueError("a features view needs dim >= 1 and steps >= 0")

    @property
    def seconds(self) -> float:
        """0: nothing is cut."""
        return 0.0

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return (self.steps, self.dim) if self.steps else (self.dim,)

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"dim": self.dim, "steps": self.steps}

    @property
    def sequence(self) -> bool:
        """Whether it has steps."""
        return self.steps > 0

    def has(self, recordings: Timelines) -> NDArray[np.bool_]:
        """Raise UsageError: media files hold none."""
        raise UsageError(
            "stored features are no view of media files; embed them first, and name them beside the collection "
            "(COLLECTION+VIEW=FEATURES)"
        )

    def __str__(self) -> str:
        return f"{self.dim} numbers computed before" + (f", {self.steps} in time" if self.steps else "")
