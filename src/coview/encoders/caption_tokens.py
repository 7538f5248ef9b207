"""Captions as tokens in their order, and the states with which they enter a transformer, as BERT's do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from coview.encoders.co_attention import EPSILON
from coview.encoders.words import Dictionary

NOTHING = 0  # the token behind a text's last


class WordTokens(Dictionary):
    """Whole words: captions int64 (B, L), as `TextView(tokens="words")` spells them, to numbers of tokens.

    Args:
        size: V, of tokens, with the first five, which are no words: nothing, a word that the dictionary lacks, the
            beginning, the end, and the mask.

    Attributes:
        begin, end, mask: numbers of the beginning, the end and the mask.
        first: number of the first word.
    """

    unknown, begin, end, mask, first = 1, 2, 3, 4, 5

    def __init__(self, size: int) -> None:
        super().__init__(size - self.first)

    def forward(self, x: Tensor) -> Tensor:
        """Return the words of captions (B, L), int64 (B, W), `NOTHING` behind the last."""
        number, there = self.places(x)
        return torch.where(there, torch.where(number < 0, self.unknown, self.first + number), NOTHING)

    @property
    def last(self) -> int:
        """One more than the number of the last word."""
        return self.first + self.size


def framed(words: Tensor, length: int, begin: int, end: int) -> Tensor:
    """Return beginning, words and end, int64 (B, length); words (B, W) that do not fit are left out at the end."""
    room = length - 2
    words = pad(words, (0, max(0, room - words.shape[1])))[:, :room]
    count = (words != NOTHING).sum(1, keepdim=True)
    whole = pad(words, (1, 1))
    whole[:, 0] = begin
    return whole.scatter(1, count + 1, end)


class TokenEmbedding(nn.Module):
    """The sum of a token's, a place's and a segment's vector, normalised.

    Args:
        size: V, of tokens.
        width: of the states.
        length: the longest text, in tokens.
        dropout: of the states.
    """

    def __init__(self, size: int, width: int, length: int, dropout: float) -> None:
        super().__init__()
        self.dim = width
        self.words, self.places, self.segments = (nn.Embedding(count, width) for count in (size, length, 2))
        self.norm, self.dropout = nn.LayerNorm(width, EPSILON), nn.Dropout(dropout)

    def forward(self, tokens: Tensor, segment: Tensor | None = None) -> Tensor:
        """Return states (B, T, width) of tokens int64 (B, T), each of segment 0 or 1, int64 (B, T); None: all of 0."""
        segment = torch.zeros_like(tokens) if segment is None else segment
        place = self.places.weight[: tokens.shape[1]]
        states: Tensor = self.dropout(self.norm(self.words(tokens) + place + self.segments(segment)))
        return states
