"""What two parts of the data share: a test that holds what was trained on measures memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

Pairs = list[tuple[str, str]]  # id in the one part, id in the other
_FIRST = 3  # pairs named in a sentence


class Named(Protocol):
    """A part of the data: a `Source`, or `Scenes`; of files it may have `digests` and `contents` too."""

    name: str

    @property
    def ids(self) -> Sequence[str]:
        """The recordings' ids in order."""
        ...


@dataclass(frozen=True)
class Overlap:
    """What two parts share; a recording of the second part is listed once, with the first that it equals.

    Attributes:
        names: of the two parts.
        ids: recordings of the same id, as far as nothing shows that their files differ.
        files: recordings whose files have the same bytes (or are one file).
        contents: other recordings that show and sound the same: the same pictures or samples in another file.
        checked: whether files and contents of both parts are known; without, only ids could be compared.
    """

    names: tuple[str, str]
    ids: Pairs
    files: Pairs
    contents: Pairs
    checked: bool

    @property
    def count(self) -> int:
        """How many recordings of the second part are in the first."""
        return len({second for pairs in (self.ids, self.files, self.contents) for _, second in pairs})

    def __bool__(self) -> bool:
        return self.count > 0

    def sentence(self) -> str:
        """Return what was found, for people."""
        first, second = self.names
        if first == second:
            first, second = "the other", f"this part of {second}"
        if not self:
            if self.checked:
                return f"{second} shares no file and no content with {first}"
            return f"whether {second} shares files with {first} is not known: no digests are recorded; index again"
        kinds = ((self.files, "by the file's bytes"), (self.contents, "by content"), (self.ids, "by id"))
        how = ", ".join(f"{len(pairs)} {what}" for pairs, what in kinds if pairs)
        pairs = [pair for found, _ in kinds for pair in found][:_FIRST]
        such = "; ".join(f"{two} is {one}" for one, two in pairs)
        return f"{self.count} recordings of {second} are in {first} too ({how}), such as {such}"


def shared(a: Named, b: Named) -> Overlap:
    """Compare two parts, such as what a model was trained on and what it is measured on."""
    mine, theirs = Known.of(a), Known.of(b)
    return compare(mine, theirs)


@dataclass(frozen=True)
class Known:
    """What is compared of a part: its ids, and by row the digests of files and of contents, where they are known."""

    name: str
    ids: Sequence[str]
    digests: Sequence[str] | None
    contents: Sequence[str] | None

    @classmethod
    def of(cls, source: Named) -> Known:
        """Return the facts of a source; worlds and arrays have no files."""
        digests, contents = getattr(source, "digests", None), getattr(source, "contents", None)
        return cls(source.name, source.ids, digests, contents)


def compare(a: Known, b: Known) -> Overlap:
    """Compare the facts of two parts; see `shared`."""
    files = _pairs(a.ids, a.digests, b.ids, b.digests)
    known = {second for _, second in files}
    contents = [pair for pair in _pairs(a.ids, a.contents, b.ids, b.contents) if pair[1] not in known]
    known |= {second for _, second in contents}
    ids = [pair for pair in _pairs(a.ids, a.ids, b.ids, b.ids) if pair[1] not in known]
    if a.digests is not None and b.digests is not None and ids:
        # Two data sets may both have a "0001.mp4": files that are known to differ are two recordings.
        mine, theirs = dict(zip(a.ids, a.digests, strict=True)), dict(zip(b.ids, b.digests, strict=True))
        ids = [pair for pair in ids if not (mine[pair[0]] and theirs[pair[1]])]
    checked = None not in (a.digests, a.contents, b.digests, b.contents)
    return Overlap((a.name, b.name), ids, files, contents, checked)


def _pairs(
    ids: Sequence[str], values: Sequence[str] | None, other_ids: Sequence[str], other_values: Sequence[str] | None
) -> Pairs:
    """Return (id, other id) of every other row whose value occurs in the first part; "" is no value."""
    if values is None or other_values is None:
        return []
    first: dict[str, str] = {}
    for name, value in zip(ids, values, strict=True):
        if value:
            first.setdefault(value, name)
    return [(first[value], name) for name, value in zip(other_ids, other_values, strict=True) if value in first]


def named_by_captions(rows: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return the paths of (path, caption) whose caption is the name of its own file: text that gives the file away.

    A caption does so if it is the file's name, with or without extension and folders, or contains that name where it
    holds a number: "clip 00042" beside 00042.mp4.
    """
    found = []
    for path, caption in rows:
        words, stem = _plain(caption or ""), _plain(PurePath(path).stem)
        whole = {stem, _plain(PurePath(path).name), _plain(path), _plain(str(PurePath(path).with_suffix("")))}
        inside = len(stem) > 2 and any(letter.isdigit() for letter in stem) and f" {stem} " in f" {words} "
        if words and (words in whole or inside):
            found.append(path)
    return found


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))
