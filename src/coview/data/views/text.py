"""Words: the caption of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.text import decode_characters, encode_text
from coview.data.views.kinds import register_view
from coview.data.views.spec import ViewSpec
from coview.encoders.words import SPACE
from coview.media.cuts import Window
from coview.randomness import integers

if TYPE_CHECKING:
    from coview.data.timeline import Timeline, Timelines


@register_view
@dataclass(frozen=True, kw_only=True)
class TextView(ViewSpec):
    """A recording's caption as numbers; the whole caption belongs to every sample of its recording.

    Raw and model: int64 (length,), 0 after the end; see `coview.data.text`.
    """

    stream: Literal["text"] = "text"  # the recording's caption
    length: int = 100  # characters or word pieces kept
    # words: letters of any script, without signs and digits; minilm: the word pieces of MiniLM (extra "text");
    # letters: the text itself, for an encoder with a tokeniser of its own
    tokens: Literal["characters", "words", "minilm", "letters"] = "characters"

    dtype: ClassVar[torch.dtype] = torch.int64
    stored_dtype: ClassVar[type[np.generic]] = np.int64

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

    def has(self, recordings: Timelines) -> NDArray[np.bool_]:
        """See `ViewSpec.has`."""
        return recordings.has_caption

    def load(self, recording: Timeline, path: Path | None, start: float, window: Window) -> tuple[Tensor, int] | None:
        """See `ViewSpec.load`: the caption, which the index holds."""
        return self.spell(recording.caption or ""), 0

    def spell(self, text: str) -> Tensor:
        """See `ViewSpec.spell`: as `coview.data.text` says."""
        return encode_text(text, self)

    @property
    def nothing(self) -> Tensor:
        """No model view at all."""
        return torch.zeros(0, *self.shape, dtype=self.dtype)

    def made_up(self, key: Tensor, stream: int) -> Tensor:
        """See `ViewSpec.made_up`: codes of small letters, where words are told apart in pairs."""
        letters = 97 + integers(key, stream, 26, self.length)
        between = torch.arange(self.length, device=key.device) % 3 == 2
        return torch.where(between, SPACE, letters) if self.tokens == "words" else letters

    def words(self, raw: Tensor) -> str | None:
        """See `ViewSpec.words`; word pieces are not read back."""
        return None if self.tokens == "minilm" else decode_characters(raw)

    def __str__(self) -> str:
        return f"the caption, at most {self.length} {'word pieces' if self.tokens == 'minilm' else 'characters'}"
