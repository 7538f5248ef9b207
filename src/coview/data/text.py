"""Captions as numbers: characters without any vocabulary, whole words, the text letter by letter, or MiniLM's pieces.

A character's code is 1 + its Unicode number modulo 2047, after lower-casing and composing (NFKC). Latin, Greek,
Cyrillic, Hebrew and Arabic letters keep apart, other scripts share codes among themselves. Letters of words are 1 +
their Unicode number in any script, and words lie between spaces; letters of texts likewise, nothing changed. Code 0 is
"nothing".
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from coview.data.dictionary import words_of
from coview.encoders.text import minilm_folder

if TYPE_CHECKING:
    from coview.data.views import TextView

CODES = 2048  # number of character codes, with 0


def encode_text(text: str, view: TextView) -> Tensor:
    """Return a caption as int64 (view.length,), cut or followed by zeros.

    Raises:
        UsageError: the view wants MiniLM's word pieces and the extra "text" is not installed.
    """
    if view.tokens == "minilm":
        codes = list(_pieces().encode(text).ids)
        if len(codes) > view.length:
            codes = [*codes[: view.length - 1], codes[-1]]  # the last piece marks the end
    elif view.tokens == "words":
        codes = [1 + ord(letter) for letter in _whole(words_of(text), view.length)]
    elif view.tokens == "letters":
        codes = [1 + ord(letter) for letter in text[: view.length]]
    else:
        plain = unicodedata.normalize("NFKC", text).lower().strip()
        codes = [1 + ord(letter) % (CODES - 1) for letter in plain[: view.length]]
    out = torch.zeros(view.length, dtype=torch.int64)
    out[: len(codes)] = torch.tensor(codes, dtype=torch.int64)
    return out


def decode_characters(codes: Tensor) -> str:
    """Return the letters of codes (length,): of characters exact for Unicode numbers below 2047, of others for all."""
    return "".join(chr(code - 1) for code in codes.tolist() if code)


def _whole(words: list[str], length: int) -> str:
    """Return words between spaces, as many whole ones as fit."""
    text = " ".join(words)
    if len(text) <= length:
        return text
    return text[: length + 1].rpartition(" ")[0]


@cache
def _pieces() -> Any:
    from tokenizers import Tokenizer

    pieces = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    pieces.no_padding()
    pieces.no_truncation()
    return pieces
