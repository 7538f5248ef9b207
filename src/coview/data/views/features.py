"""Features: numbers that were computed before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class FeaturesView:
    """A vector that was computed before, such as the features of a frozen encoder.

    Raw and model: float32 (dim,), or (steps, dim) for a sequence.
    """

    stream: Literal["features"] = "features"
    dim: int
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
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return self.raw_shape

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"dim": self.dim, "steps": self.steps}

    def __str__(self) -> str:
        return f"{self.dim} numbers computed before" + (f", {self.steps} in time" if self.steps else "")
