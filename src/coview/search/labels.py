"""The log of labels: what people and models said of a collection's recordings, one line after the other, never changed.

An SQLite file below the user's data folder, one for each collection by its fingerprint; the collection itself is never
changed. A label that a person gave counts before every proposal, whichever came later. Lines that were written at once
are one act; taking the last act back writes a line too, so that nothing that was ever said is lost.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from coview.errors import CoviewError, UsageError

# How: of models; of people, for one recording, and for one that was drawn at random; for many at a time.
PROPOSED, KEY, RANDOM, CLUSTER, SUGGESTED = "zero-shot", "key", "random", "cluster", "suggested"
SKIPPED, BROKEN = "skip", "broken"  # of people, who give no label
UNDONE, CLASS, NO_CLASS = "undo", "class", "no class"  # of no recording: an act is taken back, a class comes or goes
_SAME = 1e-3  # confidences that differ by less are one: they are computed in batches of other sizes
_FORMAT, _WAIT = 2, 30.0  # of the file (1 had no content); seconds that another program may hold it
_TABLE = """create table if not exists labels (
    number integer primary key, id text not null, label text, how text not null, confidence real,
    time real not null, session text not null, content text)"""
_COLUMNS = "id, label, how, confidence, time, session, content"


class LogError(UsageError):
    """A file is no log of labels, or one of a later version."""


class Said(NamedTuple):
    """One line: of which recording, which label (None takes one back), how, how surely, when (s since 1970), where.

    `content` is the digest of the recording's file, by which the label is known again in another collection.
    """

    id: str
    label: str | None
    how: str
    confidence: float | None
    time: float
    session: str
    content: str | None = None


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

    Threads may share it, one at a time.

    Raises:
        LogError: the file is no log of labels, or one of a later version.
        CoviewError: it cannot be made, or another program holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=_WAIT, check_same_thread=False)
            try:
                if self._version() not in (0, 1, _FORMAT):
                    raise LogError(
                        f"{path}: labels of format {self._version()}, but this version reads 1 and {_FORMAT}"
                    )
                self._base.execute("pragma journal_mode=wal")
                if self._version() != _FORMAT:
                    with self.alone():
                        self._make()
                self._base.execute(f"select {_COLUMNS} from labels limit 1").fetchone()
                self._file = path.stat()
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
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _version(self) -> int:
        return int(self._base.execute("pragma user_version").fetchone()[0])

    def _make(self) -> None:
        self._base.execute(_TABLE)
        names = [row[1] for row in self._base.execute("pragma table_info(labels)")]
        if self._version() == 1 and "content" not in names:  # it is there where another program was faster
            self._base.execute("alter table labels add column content text")
        self._base.execute(f"pragma user_version={_FORMAT}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other programs from writing: what is read within is still so when lines are added; all or none stay."""
        try:
            self._base.execute("begin immediate")
            with self._base:
                yield
        except sqlite3.Error as error:
            raise _told(self.path, error) from error

    def add(self, said: Iterable[Said]) -> None:
        """Write lines, all or none of them.

        Raises:
            CoviewError: they cannot be kept; the file was deleted or replaced since it was opened.
        """
        try:
            with nullcontext() if self._base.in_transaction else self.alone():
                if not os.path.samestat(self.path.stat(), self._file):  # what it takes nobody would ever read
                    raise FileNotFoundError(self.path)
                self._base.executemany(f"insert into labels ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?)", said)
        except (sqlite3.Error, OSError) as error:
            raise _told(self.path, error) from error

    def lines(self, after: int = 0) -> list[Said]:
        """Return the lines in the order in which they were written, all or those after the first so many."""
        asked = f"select {_COLUMNS} from labels order by number limit -1 offset ?"
        try:
            with closing(self._base.execute(asked, [after])) as found:
                return [Said(*row) for row in found]
        except sqlite3.Error as error:
            raise _told(self.path, error) from error

    def propose(self, proposals: Sequence[Proposal]) -> int:
        """Write what differs from the last proposal for each recording; return how many lines that were.

        The same proposals again write nothing, so that a call can be repeated, or go on after it was stopped.
        """
        now, session = time.time(), uuid.uuid4().hex
        with self.alone():
            last = _last(self.lines(), people=False)
            new = [
                Said(each.id, each.label, PROPOSED, each.confidence if each.label else None, now, session)
                for each in proposals
                if _differs(each, last.get(each.id))
            ]
            self.add(new)
        return len(new)

    def undo(self, session: str) -> list[Said]:
        """Take back the last act of people that stands, whoever did it and when; return its lines, none without one."""
        with self.alone():
            acts = acts_of(self.lines())
            if not acts:
                return []
            self.add([Said(acts[-1][0].id, None, UNDONE, None, time.time(), session)])
        return acts[-1]

    def current(self) -> dict[str, Said]:
        """Return what counts of each recording: what a person said last, else what was proposed last."""
        lines = self.lines()
        return {**_last(lines, people=False, given=True), **people_of(lines)}

    def proposed(self) -> dict[str, Said]:
        """Return the last proposal for each recording that has one."""
        return _last(self.lines(), people=False, given=True)


def acts_of(lines: Sequence[Said], before: list[list[Said]] | None = None) -> list[list[Said]]:
    """Return what people did and did not take back: acts, each of the lines that were written at once.

    Args:
        before: the acts of earlier lines, which these go on; is changed.
    """
    acts: list[list[Said]] = [] if before is None else before
    for line in lines:
        if line.how == UNDONE:
            del acts[-1:]
        elif line.how != PROPOSED and acts and acts[-1][0][4:6] == line[4:6]:
            acts[-1].append(line)
        elif line.how != PROPOSED:
            acts.append([line])
    return acts


def people_of(lines: Sequence[Said]) -> dict[str, Said]:
    """Return the label that people gave each recording last, as far as it stands."""
    return _last(lines, people=True, given=True)


def labels_of(path: Path) -> dict[str, str]:
    """Return id -> label of a log, of what people said alone.

    Raises:
        UsageError: there is no such log, or no label of people in it.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such log of labels")
    with LabelLog(path) as log:
        found = {name: said.label for name, said in people_of(log.lines()).items() if said.label is not None}
    if not found:
        raise UsageError(f"{path}: people have given no label in it")
    return found


def _last(lines: Sequence[Said], people: bool, given: bool = False) -> dict[str, Said]:
    """Return the last line of people or of models for each recording; with `given`, where it is a label."""
    those = [line for act in acts_of(lines) for line in act] if people else lines
    found = {line.id: line for line in those if line.id and (line.how == PROPOSED) != people}
    return {name: line for name, line in found.items() if line.label is not None or not given}


def _differs(new: Proposal, old: Said | None) -> bool:
    if old is None or old.label is None or new.label is None:
        return (old.label if old else None) != new.label
    return old.label != new.label or abs((old.confidence or 0.0) - new.confidence) > _SAME


def _told(path: Path, error: Exception) -> CoviewError:
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return CoviewError(f"{path}: another program holds the labels; give the same command again when it is done")
    if isinstance(error, (FileNotFoundError, sqlite3.ProgrammingError)):
        return CoviewError(f"{path}: the log of labels was deleted or replaced while it was open; start again")
    if isinstance(error, (sqlite3.OperationalError, OSError)):
        return CoviewError(f"{path}: labels cannot be kept there ({error}); make room, or name another folder by "
                           "XDG_DATA_HOME")  # fmt: skip
    return LogError(f"{path}: this is no log of labels ({error}); move it away, and it is made anew")


def counted(labels: Mapping[str, Said]) -> dict[str, int]:
    """Return label -> how many recordings have it, the commonest first."""
    found: dict[str, int] = {}
    for said in labels.values():
        found[str(said.label)] = found.get(str(said.label), 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
