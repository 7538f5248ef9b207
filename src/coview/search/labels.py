"""The log of labels: what people and models said of a collection's recordings, one line after the other, never changed.

An SQLite file below the user's data folder, one for each collection by its fingerprint; the collection itself is never
changed. A label that a person gave counts before every proposal, whichever came later.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from coview.errors import CoviewError, UsageError

PROPOSED = "zero-shot"  # how, of models; of people: "key", "cluster" (many at a time), "suggested" (one was taken)
_SAME = 1e-3  # confidences that differ by less are one: they are computed in batches of other sizes
_FORMAT, _WAIT = 1, 30.0  # of the file; seconds that another program may hold it
_TABLE = """create table if not exists labels (
    number integer primary key, id text not null, label text, how text not null, confidence real,
    time real not null, session text not null)"""


class Said(NamedTuple):
    """One line: of which recording, which label (None takes one back), how, how surely, when (s since 1970), where."""

    id: str
    label: str | None
    how: str
    confidence: float | None
    time: float
    session: str


class Proposal(NamedTuple):
    """What a model proposes for a recording; a label of None where it is not sure enough."""

    id: str
    label: str | None
    confidence: float


def log_of(fingerprint: str) -> Path:
    """Return the file of the labels of a collection with this fingerprint."""
    if not re.fullmatch(r"[\w.-]{1,200}", fingerprint) or fingerprint.startswith("."):
        raise UsageError(f"labels are kept by a collection's fingerprint, and {fingerprint!r} is none")
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return home / "coview" / fingerprint / "labels.sqlite"


class LabelLog:
    """A log, opened; a context that closes it. What was added before a kill is there after it.

    Raises:
        UsageError: the file is no log of labels, or one of a later version.
        CoviewError: it cannot be made, or another program holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=_WAIT)
            try:
                [version] = self._base.execute("pragma user_version").fetchone()
                if version not in (0, _FORMAT):
                    raise UsageError(f"{path}: labels of format {version}, but this version reads {_FORMAT}")
                self._base.execute("pragma journal_mode=wal")
                with self._base:
                    self._base.execute(_TABLE)
                self._base.execute(f"pragma user_version={_FORMAT}")
                self._base.execute("select id, label, how, confidence, time, session from labels limit 1").fetchone()
            except BaseException:
                self._base.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise _told(path, error) from error

    def __enter__(self) -> LabelLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def add(self, said: Iterable[Said]) -> None:
        """Write lines, all or none of them."""
        try:
            with self._base:
                self._base.executemany(
                    "insert into labels (id, label, how, confidence, time, session) values (?, ?, ?, ?, ?, ?)", said
                )
        except sqlite3.Error as error:
            raise _told(self.path, error) from error

    def lines(self) -> list[Said]:
        """Return all lines in the order in which they were written."""
        try:
            with closing(self._base.execute(
                "select id, label, how, confidence, time, session from labels order by number"
            )) as found:  # fmt: skip
                return [Said(*row) for row in found]
        except sqlite3.Error as error:
            raise _told(self.path, error) from error

    def propose(self, proposals: Sequence[Proposal]) -> int:
        """Write what differs from the last proposal for each recording; return how many lines that were.

        The same proposals again write nothing, so that a call can be repeated, or go on after it was stopped.
        """
        last = _last(self.lines(), people=False)
        now, session = time.time(), uuid.uuid4().hex
        new = [
            Said(each.id, each.label, PROPOSED, each.confidence if each.label else None, now, session)
            for each in proposals
            if _differs(each, last.get(each.id))
        ]
        self.add(new)
        return len(new)

    def current(self) -> dict[str, Said]:
        """Return what counts of each recording: what a person said last, else what was proposed last."""
        lines = self.lines()
        return {**_last(lines, people=False, given=True), **_last(lines, people=True, given=True)}

    def proposed(self) -> dict[str, Said]:
        """Return the last proposal for each recording that has one."""
        return _last(self.lines(), people=False, given=True)


def _last(lines: Sequence[Said], people: bool, given: bool = False) -> dict[str, Said]:
    """Return the last line of people or of models for each recording; with `given`, where it is a label."""
    found = {line.id: line for line in lines if (line.how != PROPOSED) == people}
    return {name: line for name, line in found.items() if line.label is not None or not given}


def _differs(new: Proposal, old: Said | None) -> bool:
    if old is None or old.label is None or new.label is None:
        return (old.label if old else None) != new.label
    return old.label != new.label or abs((old.confidence or 0.0) - new.confidence) > _SAME


def _told(path: Path, error: Exception) -> CoviewError:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return CoviewError(f"{path}: another program holds the labels; give the same command again when it is done")
    if isinstance(error, (sqlite3.OperationalError, OSError)):
        return CoviewError(f"{path}: labels cannot be kept there ({error}); make room, or name another folder by "
                           "XDG_DATA_HOME")  # fmt: skip
    return UsageError(f"{path}: this is no log of labels ({error}); move it away, and it is made anew")


def counted(labels: Mapping[str, Said]) -> dict[str, int]:
    """Return label -> how many recordings have it, the commonest first."""
    found: dict[str, int] = {}
    for said in labels.values():
        found[str(said.label)] = found.get(str(said.label), 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
