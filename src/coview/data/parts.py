"""The training, validation and test part of a small collection whose data give none: chosen at indexing, by class.

`recording.split_of` takes every recording by its name alone, so that a growing collection never moves one. Of few
recordings that leaves classes, or everything, without something to measure on; so those are shared out once and written
down, as if a manifest had given them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

from coview.data.recording import SPLITS, Recording, Split, split_of

SMALL = 200  # recordings, below which parts are chosen by class
LEAST = 4  # recordings that must not be parted, below which all are learnt from
_SHARE = 8  # one in so many is a test recording, and one a validation recording


def share_out(recordings: Sequence[Recording]) -> tuple[list[Recording], dict[str, Any]]:
    """Return the recordings with their parts, and what is said of the parts: how many each has, and who chose them.

    `by` is "data" where any recording has a part or a fold already, "name" of large collections (`split_of`): these
    are left as they are. It is "class" of small ones. There one in eight of each class is for tests and one for
    validation, of classes of four and more at least one; kinds of recordings (films, sounds, pictures) come as evenly.
    Recordings of one group, and copies of each other, stay together. A second fold has test and validation part
    exchanged: both are unseen in training, so that figures of the two folds rest on twice as many recordings.
    """
    if any(row.split or row.folds for row in recordings):
        return list(recordings), {"by": "data", **_counts([row.split for row in recordings])}
    if len(recordings) >= SMALL:
        return list(recordings), {"by": "name", **_counts([split_of(row.group or row.id) for row in recordings])}
    part_of = _by_class(_together(recordings))
    parts = [part_of[row.id] for row in recordings]
    other: dict[Split, Split] = {"train": "train", "validation": "test", "test": "validation"}
    twice = "validation" in parts
    made = [
        dataclasses.replace(row, split=part, folds=(part, other[part]) if twice else ())
        for row, part in zip(recordings, parts, strict=True)
    ]
    return made, {"by": "class", **_counts(parts)}


def _counts(parts: Sequence[str | None]) -> dict[str, int]:
    found = Counter(parts)
    return {name: found[name] for name in SPLITS}


def _together(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Return the recordings in lists that must not be parted: of one group, of one file, of the same contents."""
    unit: dict[str, list[Recording]] = {}
    holder: dict[Hashable, list[Recording]] = {}
    for row in recordings:
        mine = [row]
        for key in (("group", row.group), ("digest", row.digest), ("content", row.content)):
            other = holder.setdefault(key, mine) if key[1] else mine
            if other is not mine:
                mine, gone = other, mine
                mine += gone
                holder |= {name: mine for name, each in holder.items() if each is gone}
        unit |= {each.id: mine for each in mine}
    return list({id(each): each for each in unit.values()}.values())


def _by_class(units: Sequence[list[Recording]]) -> dict[str, Split]:
    """Return id -> part."""
    if len(units) < LEAST:
        return {row.id: "train" for unit in units for row in unit}
    classes: dict[str | None, list[list[Recording]]] = defaultdict(list)
    for unit in units:
        classes[unit[0].label].append(unit)
    places = [place for label in sorted(classes, key=str) for place in _share(classes[label], str(label))]
    if sum(part == "test" for _, part in places) < 2:  # too few of every class
        places = _share(units, "")
    if sum(part == "test" for _, part in places) < 2:  # nothing can be searched among one
        places = [(unit, "train" if part == "train" else "test") for unit, part in places]
    return {row.id: part for unit, part in places for row in unit}


def _share(units: Sequence[list[Recording]], name: str) -> list[tuple[list[Recording], Split]]:
    """Return the units of one class with their parts: test ones at equal distances, validation ones between them."""
    ordered = sorted(units, key=lambda unit: (unit[0].has_video, unit[0].has_audio, _drawn(unit[0].id)))
    count = len(ordered)
    wanted = max(1, round(count / _SHARE)) if count >= LEAST else count // (LEAST - 1)
    first = _drawn(f"class/{name}") / 2**64
    parts: list[Split] = ["train"] * count
    for number in range(wanted):
        parts[int((number + first) * count / wanted)] = "test"
        if count >= LEAST:
            parts[int((number + first + 0.5) * count / wanted) % count] = "validation"
    return list(zip(ordered, parts, strict=True))


def _drawn(name: str) -> int:
    """Return 64 bits that follow from a name, as `split_of` draws."""
    return int.from_bytes(hashlib.sha256(f"split/{name}".encode(errors="surrogatepass")).digest()[:8], "big")
