"""Words: the caption of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class TextView:
    """A recording's caption as numbers; the whole caption belongs to every sample of its recording.

    Raw and model: int64 (length,), 0 after the end; see `coview.data.text`.
    """

    stream: Literal["text"] = "text"
    length: int = 100  # characters or word pieces kept
    tokens: Literal["characters", "minilm"] = "characters"  # minilm: the word pieces of MiniLM (extra "text")

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError("a text view needs length >= 1")

    @property
    def seconds(self) -> float:
        """0: a caption has no length in time."""
        return 0.0

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return (self.length,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return (self.length,)

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"length": self.length, "tokens": self.tokens}

    def __str__(self) -> str:
        return f"the caption, at most {self.length} {'characters' if self.tokens == 'characters' else 'word pieces'}"
