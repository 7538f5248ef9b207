"""Files about words as they are published: questions of analogy, pairs that people have judged, vectors, languages.

Words are taken as a dictionary has them (`coview.data.dictionary`): lowered, composed, without signs and digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coview.data.dictionary import words_of
from coview.errors import UsageError

_MOST_LINE = 1 << 20  # characters of a line
Pair = tuple[str, str, float]


def read_analogies(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """Read questions "a b c d", a is to b as c is to d, by section: word2vec's questions-words.txt, ": name" before.

    Raises:
        UsageError: the file cannot be read, holds no question, or a line has other than four words.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    section = "all"
    for number, line in _lines(path):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        words = line.split()
        if len(words) != 4:
            raise UsageError(f"{path}, line {number}: expected four words, found {len(words)}")
        found.setdefault(section, []).append(tuple(map(_plain, words)))
    _check(found, path, "analogies")
    return found


def read_similarities(path: Path) -> list[Pair]:
    """Read pairs of words and how similar people found them: WordSim-353, MEN, SimLex-999 and their like.

    Words stand in the first two columns, between tabs, semicolons, commas or spaces, the first of these that a line
    has; the judgement is the first finite number behind them. First lines without a number are the heading.

    Raises:
        UsageError: the file cannot be read, holds no pair, or a line is not of this form.
    """
    found: list[Pair] = []
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        between = next((sign for sign in "\t;," if sign in line), None)  # the first: "7,5" is no two numbers
        cells = [cell.strip().strip('"') for cell in line.split(between)]
        judged = next((value for cell in cells[2:] if (value := _number(cell)) is not None), None)
        if judged is not None:
            found.append((_plain(cells[0]), _plain(cells[1]), judged))
        elif found:
            raise UsageError(f"{path}, line {number}: expected two words and a number, found {line[:60]!r}")
    _check(found, path, "pairs of words")
    return found


def read_vectors(path: Path, wanted: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """Read the vectors of some words: word2vec's text (its first line says how many) or GloVe's.

    The file may be larger than memory; of words that differ in writing alone, the first counts.

    Raises:
        UsageError: the file cannot be read, has vectors of several lengths, or none of the words.
    """
    known, dim = set(wanted), 0
    found: dict[str, NDArray[np.float32]] = {}
    for number, line in _lines(path):
        if number == 1 and re.fullmatch(r"\d+ \d+", line):
            continue
        dim = dim or len(line.split(" ")) - 1
        if not dim:
            raise UsageError(f"{path}, line {number}: expected a word and numbers between spaces, found {line[:60]!r}")
        word, *numbers = line.rsplit(" ", dim)
        plain = _plain(word)
        if plain not in known or plain in found:
            continue
        try:
            vector = np.array(numbers, dtype=np.float32)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: expected a word and {dim} numbers ({error})") from error
        if len(vector) != dim or not np.isfinite(vector).all():
            raise UsageError(
                f"{path}, line {number}: expected {dim} finite numbers, found {len(vector)} behind {word!r}"
            )
        found[plain] = vector
    _check(found, path, "vectors of the dictionary's words")
    return found


def read_languages(path: Path) -> dict[str, str]:
    """Read which language words are of: a word, a tab and the language on every line.

    Raises:
        UsageError: the file cannot be read, holds no word, or a line has no tab.
    """
    found = {}
    for number, line in _lines(path):
        word, tab, language = line.partition("\t")
        if not tab:
            raise UsageError(f"{path}, line {number}: expected a word, a tab and a language, found {line[:60]!r}")
        found[_plain(word)] = language.strip()
    _check(found, path, "words with their languages")
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number from 1, line) of the lines of a text that are not empty."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            while line := stream.readline(_MOST_LINE):
                number += 1
                if plain := line.rstrip():
                    yield number, plain
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is no text in UTF-8 (behind line {number})"
        raise UsageError(f"{path}: cannot be read: {why}; give a text file in its published form") from error


def _plain(word: str) -> str:
    """Return a word as a dictionary has it; what is no single word is none of a dictionary's, and stays."""
    words = words_of(word)
    return words[0] if len(words) == 1 else word


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check(found: Collection[object], path: Path, what: str) -> None:
    if not found:
        raise UsageError(f"{path}: there are no {what} in it")
