"""What people say of a collection's recordings while they say it: classes, labels, what is taken back."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from coview.data.collection import Collection
from coview.data.words import word_of
from coview.errors import UsageError
from coview.search.carrying import carry, digests
from coview.search.labels import (
    BROKEN,
    CLASS,
    CLUSTER,
    KEY,
    NO_CLASS,
    PROPOSED,
    RANDOM,
    SKIPPED,
    SUGGESTED,
    UNDONE,
    LabelLog,
    Said,
    acts_of,
)

LOOKED = (KEY, RANDOM, SKIPPED, BROKEN)  # how, where a person has looked at this one recording
_LONGEST = 100  # letters of a label


class Labelling:
    """The labels of one collection while they are given; threads may share it.

    Args:
        collection: stays as it is.
        log: of its labels, opened; is closed with this.

    Attributes:
        own: the collection's own label of each row, or None.
        carried: what an earlier index of the same recordings brought into the log.
    """

    def __init__(self, collection: Collection, log: LabelLog) -> None:
        self.own: list[str | None] = collection.column("label")
        self._log, self._ids = log, list(collection.ids)
        self._row = {name: row for row, name in enumerate(self._ids)}
        self._content = digests(collection)
        self._session, self._lock = uuid.uuid4().hex, threading.Lock()
        self.carried = carry(log, collection)
        self._seen, self._acts = 0, list[list[Said]]()  # lines that were read, and what people did by them
        self._said: dict[int, Said] = {}
        self._random: set[int] = set()
        self._named = sorted({label for label in self.own if label is not None})
        self._classes = list(self._named)

    def __len__(self) -> int:
        return len(self._ids)

    def close(self) -> None:
        """Close the log."""
        with self._lock:
            self._log.close()

    def now(self) -> tuple[Mapping[int, Said], frozenset[int]]:
        """Return row -> what a person said last and did not take back, and which rows were drawn at random.

        What another program wrote meanwhile is among it.
        """
        with self._lock:
            return self._now(), frozenset(self._random)

    def _now(self) -> dict[int, Said]:
        new = self._log.lines(self._seen)
        if not new:
            return self._said
        self._seen += len(new)
        acts_of(new, self._acts)
        if any(line.how == UNDONE for line in new):  # everything from the beginning; else only what is new
            self._said, self._random, self._classes = {}, set(), list(self._named)
            new = [line for act in self._acts for line in act]
        new = [line for line in new if line.how != PROPOSED]
        # Others may still be reading what they were given.
        self._said = self._said | {self._row[line.id]: line for line in new if line.id in self._row}
        self._random = self._random | {self._row[one.id] for one in new if one.how == RANDOM and one.id in self._row}
        names = dict.fromkeys(self._classes)
        for line in new:
            if line.how == NO_CLASS:
                names.pop(str(line.label), None)
            elif line.label is not None:
                names.setdefault(line.label)
        self._classes = list(names)
        return self._said

    def say(self, row: int, label: str | None, how: str) -> None:
        """Write what a person says of one recording: KEY or RANDOM with a label, SKIPPED or BROKEN without one."""
        if how not in LOOKED or (label is None) != (how in (SKIPPED, BROKEN)):
            raise UsageError("a label is given by key, or a recording is skipped or broken")
        word = None if label is None else _word(label)
        with self._lock:
            self._write([(row, word, how, None)])

    def say_all(self, labels: Mapping[int, tuple[str, float | None]], how: str) -> int:
        """Give many recordings a label at once, but none to those that a person has looked at; return to how many.

        Args:
            labels: row -> label, and how sure that is.
            how: CLUSTER or SUGGESTED.
        """
        with self._lock, self._log.alone():  # nobody labels one of them between the look and the writing
            said = self._now()
            free = [row for row in labels if row not in said or said[row].how not in LOOKED]
            self._write([(row, _word(labels[row][0]), how, labels[row][1]) for row in free])
        return len(free)

    def _write(self, said: Iterable[tuple[int, str | None, str, float | None]]) -> None:
        now = time.time()
        self._log.add(
            [
                Said(self._ids[row], label, how, sure, now, self._session, self._content.get(self._ids[row]))
                for row, label, how, sure in said
            ]
        )

    def undo(self) -> dict[str, Any]:
        """Take back what was done last, before a restart too; return its rows, label and how it came, or nothing."""
        with self._lock:
            lines = self._log.undo(self._session)
        rows = [self._row[line.id] for line in lines if line.id in self._row]
        return {"rows": rows, "label": lines[-1].label, "how": lines[-1].how} if lines else {}

    def name(self, label: str, gone: bool = False) -> None:
        """Add a class, or take away one that no recording has.

        Raises:
            UsageError: the class has recordings.
        """
        word = _word(label)
        with self._lock, self._log.alone():
            if gone and (word in self.own or any(line.label == word for line in self._now().values())):
                raise UsageError(f"{word} has recordings: give them another label first")
            how = NO_CLASS if gone else CLASS
            self._log.add([Said("", word, how, None, time.time(), self._session)])

    def counts(self) -> dict[str, Any]:
        """Return the classes with how many recordings have each, and how many were labelled how, as plain data."""
        said, _ = self.now()
        hows = Counter(line.how for line in said.values())
        given = Counter(line.label for line in said.values())
        own = Counter(label for row, label in enumerate(self.own) if row not in said or said[row].label is None)
        return {
            "classes": [{"name": name, "count": given[name], "own": own[name]} for name in self._classes],
            "recordings": len(self), "labelled": given.total() - given[None], "own": own.total() - own[None],
            "skipped": hows[SKIPPED], "broken": hows[BROKEN], "suggested": hows[SUGGESTED], "cluster": hows[CLUSTER],
            "carried": self.carried._asdict(),
        }  # fmt: skip

    def spoken(self) -> tuple[dict[str, Said], set[str]]:
        """Return id -> what a person said, as far as it is a label, and the ids of what is broken."""
        said, _ = self.now()
        labels = {line.id: line for line in said.values() if line.label is not None}
        return labels, {line.id for line in said.values() if line.how == BROKEN}


def _word(label: str) -> str:
    try:
        word = word_of(label)
    except ValueError as error:
        raise UsageError(f"this label {error}") from error
    if word is None or len(word) > _LONGEST:
        raise UsageError(f"a label is a word or a few, of at most {_LONGEST} letters")
    return word
