"""A dictionary from captions in any language: which words there are, in how many captions, and which are kept.

Joulin et al., ECCV 2016 (arXiv 1511.02251), section 3: letters are lowered, signs and digits taken out, the most
frequent words, which say little, are dropped, and the next K are kept. How frequent a word is, is in how many captions.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from coview.encoders.words import BYTES

_PLANES = 0x20000  # where combining marks are
# Scripts written without spaces, each sign of which is a word by itself (Unicode Standard Annex 29): Han and Hiragana.
_ALONE = "\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


def words_of(text: str) -> list[str]:
    """Return the words of a text, in their order: runs of letters and the marks on them, composed (NFKC) and lowered.
    What is longer than 64 bytes in UTF-8 is no word.

    Languages are not told apart. Han and Hiragana signs are words by themselves; scripts that write words together
    otherwise, such as Thai, give runs of words.
    """
    plain = unicodedata.normalize("NFKC", text).lower()
    return [word for word in _pattern().findall(plain) if len(word.encode()) <= BYTES]


def frequencies(captions: Iterable[Iterable[str]]) -> Counter[str]:
    """Return in how many captions, given as their words, each word stands."""
    return Counter(word for words in captions for word in set(words))


def kept(counts: Counter[str], frequent: int, size: int) -> dict[str, int]:
    """Return word -> count of the `size` most frequent words after the `frequent` most frequent are dropped.

    Words of equal frequency stand in the order of their letters.
    """
    order = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return dict(order[frequent : frequent + size])


@functools.cache
def _pattern() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(_PLANES) if unicodedata.category(chr(code)).startswith("M"))
    letter = rf"[^\W\d_{_ALONE}]"
    return re.compile(rf"[{_ALONE}]|{letter}(?:{letter}|[{marks}])*")
