"""What adapters of downloaded data sets share: official lists, the files that are there, and those that are not."""

from __future__ import annotations

import codecs
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from coview.data.adapters import Item, Made, Options, Refused
from coview.data.adapters.folder import EXTENSIONS, walk
from coview.data.identity import as_text
from coview.errors import UsageError

_MOST_BYTES = 1 << 24  # of a MATLAB file of numbers
_LARGEST = 1e9  # of these numbers


class Download:
    """A data set's folder, as its owners and their scripts leave it.

    Args:
        name: the adapter's name, for messages.
        options: `options.folder` is the folder.
        where: a sentence that says where lists and files are to be had, and what the folder looks like.

    Raises:
        UsageError: no folder is given, or there is none.
    """

    def __init__(self, name: str, options: Options, where: str) -> None:
        self.name, self.where = name, where
        if options.folder is None:
            raise UsageError(f"{name}: --folder must name the folder of the data set. {where}")
        if not options.folder.is_dir():
            raise UsageError(f"{name}: there is no folder {options.folder}. {where}")
        self.root = options.folder
        self.below = walk(self.root, options.follow_links)
        self.items: list[Item] = []
        self.refused: list[Refused] = list(self.below.refused)
        self.listed: Counter[str] = Counter()
        self.present: Counter[str] = Counter()
        self._files: dict[str, list[Path]] | None = None
        self._ids: set[str] = set()

    def lines(self, *names: str) -> list[str]:
        """Return the lines, without their ends and without empty ones, of the first of these lists that is there.

        Lines that are no text in UTF-8 go into quarantine.

        Raises:
            UsageError: none of the lists is there, it cannot be read, or no line of it is text.
        """
        for name in names:
            found = sorted(self.root.glob(name)) + sorted(self.root.glob(f"*/{name}"))
            if found:
                return self.lines_of(found[0])
        raise UsageError(f"{self.name}: {self.root} lacks the list {' or '.join(names)}. {self.where}")

    def lines_of(self, path: Path) -> list[str]:
        """Return the lines of one list, as `lines` does."""
        try:
            found = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}. {self.where}") from error
        texts = []
        for line in filter(bytes.strip, found):
            try:
                texts.append(line.decode().rstrip())
            except UnicodeDecodeError:
                self.bad_line(path.name, line.decode(errors="replace"), "text in UTF-8")
        if found and not texts:
            raise UsageError(f"{path}: not a text in UTF-8. {self.where}")
        return texts

    def numbers(self, name: str, variable: str) -> NDArray[np.int64]:
        """Return a variable of a MATLAB file (up to version 7.2) as whole numbers (N,).

        Raises:
            UsageError: the file is not there, or holds something else.
        """
        found = sorted(self.root.glob(name)) + sorted(self.root.glob(f"*/{name}"))
        if not found:
            raise UsageError(f"{self.name}: {self.root} lacks {name}. {self.where}")
        try:
            if found[0].stat().st_size > _MOST_BYTES:
                raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB")
            values: Any = np.asarray(loadmat(found[0], variable_names=[variable])[variable])
            if values.dtype.kind not in "iuf" or not values.size or not (np.abs(values) < _LARGEST).all():
                raise ValueError(f"{variable!r} is {values.dtype} {values.shape}, no numbers of pictures or classes")
            if not np.array_equal(values, np.floor(values)):
                raise ValueError(f"{variable!r} is {values.dtype} {values.shape}, no whole numbers")
        except Exception as error:  # whatever a parser makes of a damaged file
            raise UsageError(f"{found[0]}: cannot be read ({type(error).__name__}: {error}). {self.where}") from error
        numbers: NDArray[np.int64] = values.ravel().astype(np.int64)
        return numbers

    def find(self, *stems: str, parent: str | None = None) -> Path | None:
        """Return the media file with the first of these names that exists, at any depth, whatever its extension.

        Where several files have that name, the one in a folder called `parent` is preferred.
        """
        if self._files is None:
            self._files = {}
            for path in sorted(self.below.files):
                if re.fullmatch(EXTENSIONS, path.suffix.lower()):
                    self._files.setdefault(path.stem, []).append(path)
        for stem in stems:
            found = self._files.get(stem, [])
            if found:
                return next((path for path in found if path.parent.name == parent), found[0])
        return None

    def add(self, part: str, path: Path | None, wanted: str, item: Mapping[str, Any]) -> None:
        """Take one line of an official list: an item where its file is there, else a row of the quarantine.

        Args:
            part: what the line counts as, such as "train".
            wanted: what the file should have been called.
            item: the other fields of the `Item`, its id among them.
        """
        self.listed[part] += 1
        if path is None:
            message = f"it is in the official list ({part}), but not in {self.root}. {self.where}"
            self.refused.append(Refused(path=wanted, reason="not-downloaded", message=message))
            return
        if item["id"] in self._ids:
            self.refused.append(Refused(path=wanted, reason="listed-twice", message=f"the list ({part}) has it before"))
            return
        self._ids.add(item["id"])
        self.present[part] += 1
        self.items.append(Item(path=path, **item))

    def bad_line(self, part: str, line: str, expected: str) -> None:
        """Put a line of an official list that is not as it should be into quarantine; the others still count."""
        self.listed[part] += 1
        message = f"a line of the list ({part}) is damaged: expected {expected}. {self.where}"
        self.refused.append(Refused(path=as_text(line[:200]), reason="damaged-list", message=message))

    def made(self, official: Mapping[str, int], options: Options) -> Made:
        """Return what was found; the report compares official counts, lists and files, part by part.

        Raises:
            UsageError: none of the listed files is there.
        """
        if not self.items:
            seen = sum(map(len, (self._files or {}).values()))
            raise UsageError(
                f"{self.name}: none of the {sum(self.listed.values())} listed files is in {self.root} "
                f"({seen} other media files are), such as {next((row.path for row in self.refused), '-')}. {self.where}"
            )
        items = self.items if options.count is None else self.items[: options.count]
        report: dict[str, Any] = {"official": dict(official), "listed": dict(self.listed), "there": dict(self.present)}
        notes = [
            f"{part}: the list has {self.listed[part]}, the official one {count}; it is another version or not whole"
            for part, count in official.items()
            if self.listed[part] != count
        ]
        report |= {"notes": notes} if notes else {}
        return Made(items=items, root=self.root, refused=self.refused, report=report, notes=self.below.notes())


def need(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], name: str, where: str) -> None:
    """Return when a list has these columns.

    Raises:
        UsageError: some are lacking.
    """
    lacking = set(columns) - set(rows[0] if rows else ())
    if lacking:
        raise UsageError(f"{name}: no column {', '.join(sorted(lacking))}. {where}")


def seconds(words: Sequence[str | None]) -> tuple[float, float] | None:
    """Return the two words as a span in seconds; None where they are none."""
    try:
        start, end = (float(word or "") for word in words)
    except ValueError:
        return None
    return (start, end) if 0 <= start < end < math.inf else None
