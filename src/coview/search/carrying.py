"""Labels that people gave an earlier index of the same recordings, brought into the log of a new one.

A collection that is indexed again, with a file more or another caption, has another fingerprint and so another log. A
recording is known again by its id and by the digest of its file together: the same name with other contents is another
recording, and the same file under another name may be another part of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from coview.data.collection import Collection
from coview.errors import CoviewError
from coview.search.labels import CLASS, KEY, NO_CLASS, PROPOSED, RANDOM, LabelLog, Said, acts_of


class Carried(NamedTuple):
    """How many labels came, of how many earlier indexes."""

    labels: int
    logs: int


def carry(log: LabelLog, collection: Collection) -> Carried:
    """Bring labels into a log in which no person has said anything, as one act, which can be taken back like any other.

    Of several earlier labels of a recording the last counts. One that was given to a recording drawn at random was
    drawn from another collection: here it is one like the others.
    """
    with log.alone():  # two pages that are opened at once bring them once
        return _carried(log, digests(collection))


def _carried(log: LabelLog, content: Mapping[str, str]) -> Carried:
    if any(line.how != PROPOSED for line in log.lines()):
        return Carried(0, 0)
    found: dict[str, Said] = {}
    classes: dict[str, None] = {}
    logs = 0
    for path in sorted(log.path.parent.parent.glob("*/labels.sqlite")):
        if path == log.path:
            continue
        try:
            with LabelLog(path) as earlier:
                lines = [line for act in acts_of(earlier.lines()) for line in act]
        except CoviewError:  # it is told to whoever opens that collection
            continue
        known = {line.id: line for line in lines if line.content and content.get(line.id) == line.content}
        known = {name: line for name, line in known.items() if name not in found or line.time > found[name].time}
        logs += bool(known)
        if known:
            there = {str(line.label): line.how == CLASS for line in lines if line.how in (CLASS, NO_CLASS)}
            classes |= dict.fromkeys(name for name, stays in there.items() if stays)
        found |= known
    now = time.time()
    named = [Said("", name, CLASS, None, now, "carried") for name in classes]
    log.add([*named, *(
        line._replace(how=KEY if line.how == RANDOM else line.how, time=now, session="carried")
        for line in found.values()
    )])  # fmt: skip
    return Carried(sum(line.label is not None for line in found.values()), logs)


def digests(collection: Collection) -> dict[str, str]:
    """Return id -> the digest of each recording's file; none where the collection does not know them."""
    known = collection.digests
    return dict(zip(collection.ids, known, strict=True)) if known else {}
