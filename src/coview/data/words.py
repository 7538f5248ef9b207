"""What a cell of a manifest, or the name of a folder, means as a word: a label, a group, an id."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

_MEANT = "#%&*@"  # signs that make another word of one, as symbols do: C, C# and C++ are three languages
_NONE = {"nan", "none", "null", "na", "n/a", "<na>"}  # what other programs write where there is nothing


def word_of(value: Any) -> str | None:
    """Return a cell as a word, None where nothing is given: no value, NaN, or nothing but spaces.

    Numbers that are equal are one word (1 and 1.0 are "1"); spaces around a word are no part of it; letters are
    composed (NFC), as those of a folder on another system may not be.

    Raises:
        ValueError: the value is no word: a list, an infinite number, or text that is no Unicode.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (str, int, float)) or (isinstance(value, float) and math.isinf(value)):
        raise ValueError(f"{str(value)[:40]!r} is no word and no number")
    text = unicodedata.normalize("NFC", str(value)).strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[:40]!r} is no text in Unicode") from error
    return text or None


def changed_words(column: str, cells: Iterable[Any]) -> list[str]:
    """Return sentences about cells that were not taken as they stand, for people."""
    missing = spaces = numbers = 0
    for cell in cells:
        missing += isinstance(cell, float) and math.isnan(cell)
        spaces += isinstance(cell, str) and cell != cell.strip()
        numbers += isinstance(cell, float) and cell.is_integer()
    found = [
        (missing, "NaN, taken as not given"),
        (spaces, "with spaces around the word, taken without them"),
        (numbers, "a number such as 1.0, taken as 1"),
    ]
    return [f"column {column}: {count} cells are {what}" for count, what in found if count]


def alike(labels: Iterable[str | None]) -> list[str]:
    """Return sentences about different labels that may be meant as one, and about those that may mean nothing."""
    kinds: Mapping[str, set[str]] = defaultdict(set)
    for label in set(labels) - {None}:
        kinds[_plain(str(label))].add(str(label))
    notes = [
        f"the classes {', '.join(map(repr, sorted(words)))} differ only in writing; each is a class of its own"
        for _, words in sorted(kinds.items())
        if len(words) > 1
    ]
    nothing = sorted(word for words in kinds.values() for word in words if word.lower() in _NONE)
    return notes + [
        f"the class {word!r} is taken for a word; leave the cell empty where there is none" for word in nothing
    ]


def lost_signs(text: str, read: str) -> bool:
    """Return whether a text was read without a symbol that makes another word of it, as "C++" was where "c" is left."""
    return bool(_signs(text) - _signs(read))


def _signs(text: str) -> Counter[str]:
    plain = unicodedata.normalize("NFKC", text)
    return Counter(sign for sign in plain if sign in _MEANT or unicodedata.category(sign)[0] == "S")


def _plain(label: str) -> str:
    """Return what a label has in common with other ways to write it: case, spaces, punctuation, 1 and 1.0 and 01."""
    try:
        return repr(float(label))
    except ValueError:
        text = unicodedata.normalize("NFKC", label).casefold()
        # Letters, the marks on them, digits and symbols (Unicode's general categories) are what a word is made of.
        return "".join(sign for sign in text if sign in _MEANT or unicodedata.category(sign)[0] in "LMNS") or label
