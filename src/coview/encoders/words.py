"""A vector for every word of a dictionary: what captions mean, as means of their words, and classes of pictures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from coview.encoders.base import Encoder
from coview.randomness import mix

SPACE = 33  # the code between two words: 1 + the number of the space; 0 is nothing, and every letter is above
BYTES = 64  # of a word, in UTF-8
_NO_WORD = torch.iinfo(torch.int64).max


def word_hashes(x: Tensor) -> Tensor:
    """Return 64 bits for each word of captions, int64 (B, W), 0 after the last: equal words have equal bits.

    Args:
        x: int64 (B, L), codes of letters; words lie between spaces, 0 after the end.
    """
    letter = x > SPACE
    first = letter & ~pad(letter, (1, 0))[:, :-1]
    place = torch.arange(x.shape[1], device=x.device).expand_as(x)
    start = torch.where(first, place, 0).cummax(1).values
    bits = torch.where(letter, mix((x << 16) + place - start), 0)
    number = (first.cumsum(1) - 1).clamp(min=0)
    return x.new_zeros(len(x), (x.shape[1] + 1) // 2).scatter_add_(1, number, bits)


class Dictionary(nn.Module):
    """Words of captions by their bits; until some have been taken (`take`), each word is one of the K by its bits,
    whichever other words are so too.

    Args:
        words: K, the most that it can have.

    Attributes:
        hashes, counts, spelling: of each word its bits, in how many captions it stood, its letters in UTF-8; in the
            order of the bits.
        captions: how many captions there were that have one of them.
    """

    hashes: Tensor
    counts: Tensor
    spelling: Tensor
    captions: Tensor

    def __init__(self, words: int) -> None:
        super().__init__()
        self.register_buffer("hashes", torch.full((words,), _NO_WORD))
        self.register_buffer("counts", torch.ones(words, dtype=torch.int64))
        self.register_buffer("spelling", torch.zeros(words, BYTES, dtype=torch.uint8))
        self.register_buffer("captions", torch.zeros((), dtype=torch.int64))

    def take(self, dictionary: Mapping[str, int], captions: int) -> None:
        """Take at most K words with their counts as the dictionary."""
        codes = torch.zeros(len(dictionary), BYTES, dtype=torch.int64)
        letters = torch.zeros(len(dictionary), BYTES, dtype=torch.uint8)
        for number, word in enumerate(dictionary):
            codes[number, : len(word)] = torch.tensor([1 + ord(letter) for letter in word])
            spelt = word.encode()
            letters[number, : len(spelt)] = torch.tensor(list(spelt), dtype=torch.uint8)
        hashes, order = word_hashes(codes)[:, 0].sort()
        self.hashes.fill_(_NO_WORD)[: len(order)] = hashes
        self.counts.zero_()[: len(order)] = torch.tensor(list(dictionary.values()))[order]
        self.spelling.zero_()[: len(order)] = letters[order]
        self.captions.fill_(captions)

    @property
    def size(self) -> int:
        """How many words there are; K before a dictionary has been taken."""
        return int((self.hashes != _NO_WORD).sum()) or len(self.hashes)

    def dictionary(self) -> list[str]:
        """Return the words, in the order of their vectors; none before one was taken."""
        used = self.spelling[: int((self.hashes != _NO_WORD).sum())].cpu().numpy()
        return [row.tobytes().rstrip(b"\0").decode() for row in used]

    def places(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the words of captions (B, L) in their order, int64 (B, W): their numbers, -1 for what the dictionary
        lacks; and which of the W places hold a word, bool (B, W), from the first one on.
        """
        bits, count = word_hashes(x), len(self.hashes)
        if bool(self.captions == 0):
            return torch.where(bits != 0, bits % count, -1), bits != 0
        place = torch.searchsorted(self.hashes, bits).clamp(max=count - 1)
        return torch.where(self.hashes[place] == bits, place, -1), bits != 0


class WordVectors(Dictionary, Encoder):
    """Captions int64 (B, L), as `TextView(tokens="words")` spells them, to the mean of the vectors of their words.

    Words that are not in the dictionary count for nothing; without any that is, the mean is zero.

    Args:
        words: K, the most that the dictionary can have.
        dim: length of the vectors.

    Attributes:
        weight: (K, dim), the vectors; those of the dictionary's words come first, in the order of their bits.
    """

    stages = ("words",)

    def __init__(self, words: int, dim: int) -> None:
        super().__init__(words)
        self.dim = dim
        self.weight = nn.Parameter(torch.empty(words, dim))
        nn.init.normal_(self.weight, std=0.01)

    def ids(self, x: Tensor) -> Tensor:
        """Return the different words of captions that the dictionary has, int64 (B, W), their vectors' numbers.

        They stand from the first column on; where there are no more, -1.
        """
        found, _ = self.places(x)
        found = found.sort(1, descending=True).values
        twice = pad(found[:, 1:] == found[:, :-1], (1, 0))
        return found.masked_fill(twice, -1).sort(1, descending=True).values

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the vectors of the different words (B, dim, 1, W), zero where there are no more."""
        ids = self.ids(x)
        vectors = self.weight[ids.clamp(min=0)] * (ids >= 0)[..., None]
        return {"words": vectors.transpose(1, 2)[:, :, None]}

    def pool(self, maps: Tensor) -> Tensor:
        """Take the mean over the words that are there."""
        there = (maps != 0).any(1, keepdim=True)
        return maps.sum((2, 3)) / there.sum((2, 3)).clamp(min=1)
