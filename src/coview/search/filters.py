"""Which recordings of a collection are meant, in which order, and how many there are of each kind.

Conditions are values, never text that is evaluated: a fixed list of columns, each with the one way to ask for it. The
page and `coview search --where` speak this one language.
"""

from __future__ import annotations

import difflib
import functools
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coview.data.collection import Collection
from coview.data.tables import in_one_piece
from coview.errors import UsageError

CHOICES = ("kind", "label", "split", "flags", "codec")  # columns that a condition names values of
SORTS = ("id", "duration", "label", "peak")
MOST_CONDITIONS = 100
MOST_VALUES = 200  # of a facet; more are searched by words
_BARS = 12  # of the histogram of durations
_ENDLESS = 1e12  # s; nothing lasts as long
_LAST = _ENDLESS / 2  # an end that is left out
_SHOWN = ("id", "label", "split", "kind", "duration", "flags", "has_video", "has_audio")

Condition = dict[str, Any]
Mask = NDArray[np.bool_]


class ConditionError(UsageError):
    """A condition or an order that is not known; the message says which there are."""


class Rows:
    """The columns of a collection that are asked for by condition."""

    def __init__(self, collection: Collection) -> None:
        names = {"id", "path", "label", "duration", "flags", "has_video", "has_audio", "caption", "peak"}
        found = collection.columns(names | {"video_codec", "audio_codec"})
        columns = {name: in_one_piece(found.column(name)) for name in found.column_names}
        columns["label"] = pc.fill_null(columns["label"], "")
        columns["caption"] = pc.fill_null(columns["caption"], "")
        columns["split"] = pa.array(collection.splits()) if len(collection) else pa.array([], pa.string())
        columns["kind"] = _kinds(columns)
        columns["codec"] = pc.binary_join_element_wise(columns["video_codec"], columns["audio_codec"], " ")
        columns["codec"] = pc.utf8_trim_whitespace(columns["codec"])
        self._columns = columns
        self._table = pa.table({name: columns[name] for name in _SHOWN})
        self._orders: dict[tuple[str, bool], NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def mask(self, conditions: list[Condition], but: str = "") -> Mask:
        """Return which rows fulfil all conditions, those on the column `but` left out.

        Args:
            conditions: `{"column": one of CHOICES, "in": [values]}`, `{"column": "duration", "from": s, "to": s}`, the
                latter excluded, or `{"column": "words", "has": text}`: in the id, the path, the label or the caption,
                in any case of letters.

        Raises:
            ConditionError: one is none of these, or there are more than `MOST_CONDITIONS`.
        """
        if len(conditions) > MOST_CONDITIONS:
            raise ConditionError(f"{len(conditions)} conditions at once; at most {MOST_CONDITIONS}")
        mask: Mask = np.ones(len(self), bool)
        for condition in conditions:
            found = self._fulfil(condition)
            if condition["column"] != but:
                mask &= found
        return mask

    def _fulfil(self, condition: Condition) -> Mask:
        match condition:
            case {"column": str(name), "in": list(values), **rest} if name in CHOICES and not rest:
                if len(values) <= 1000 and all(map(_is_text, values)):
                    return self._among(name, values)
            case {"column": "duration", "from": first, "to": last, **rest} if not rest:
                if all(isinstance(end, (int, float)) and abs(end) < _ENDLESS for end in (first, last)):
                    seconds = self._columns["duration"].to_numpy(zero_copy_only=False)
                    within: Mask = (seconds >= first) & (seconds < last)
                    return within
            case {"column": "words", "has": str(text), **rest} if not rest and len(text) <= 1000 and _is_text(text):
                found = [
                    pc.match_substring(self._columns[name], text, ignore_case=True)
                    for name in ("id", "path", "label", "caption")
                ]
                return _truths(functools.reduce(pc.or_, found))
        raise ConditionError(f"a condition that is not known; columns: {', '.join(CHOICES)}, duration, words")

    def _among(self, name: str, values: list[str]) -> Mask:
        column, wanted = self._columns[name], pa.array(values, pa.string())
        if not pa.types.is_list(column.type):
            return _truths(pc.is_in(column, value_set=wanted))
        mask: Mask = np.zeros(len(self), bool)
        mask[
            pc.list_parent_indices(column).to_numpy()[_truths(pc.is_in(pc.list_flatten(column), value_set=wanted))]
        ] = True
        return mask

    def nearest_value(self, conditions: Sequence[Condition]) -> str:
        """Return the value, of those that exist, most like one that no recording has; "" where all are had."""
        for name, values in ((each["column"], each["in"]) for each in conditions if "in" in each):
            column = self._columns[name]
            there = pc.unique(pc.list_flatten(column) if pa.types.is_list(column.type) else column).to_pylist()
            for value in (value for value in values if value not in there):
                near = difflib.get_close_matches(value, map(str, there), n=1)
                return f"{name}={near[0]}" if near else ""
        return ""

    def order(self, mask: Mask, sort: str = "id", down: bool = False) -> NDArray[np.int64]:
        """Return the rows of a mask in order; equal ones as in the collection.

        Raises:
            ConditionError: there is no such order.
        """
        if sort not in SORTS:
            raise ConditionError(f"an order that is not known; there are {', '.join(SORTS)}")
        with self._lock:
            if (sort, down) not in self._orders:
                direction = "descending" if down else "ascending"
                found = pc.sort_indices(self._columns[sort], sort_keys=[("", direction)])
                self._orders[sort, down] = found.to_numpy().astype(np.int64)
            order = self._orders[sort, down]
        return order[mask[order]]

    def shown(self, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return what a tile says of each row."""
        found = self._table.take(pa.array(rows)).to_pylist()
        return [{"row": int(row), **finite(fields)} for row, fields in zip(rows, found, strict=True)]

    def facets(self, conditions: list[Condition]) -> dict[str, Any]:
        """Return how many rows each value would show: of each column under the conditions on all the others.

        Values come most frequent first, `MOST_VALUES` at most, and `more` says how many there are beside them.
        """
        found: dict[str, Any] = {}
        for name in CHOICES:
            column = self._columns[name].filter(pa.array(self.mask(conditions, but=name)))
            column = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            counts = pc.value_counts(column)
            pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
            ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
            found[name] = {"values": ordered[:MOST_VALUES], "more": max(0, len(ordered) - MOST_VALUES)}
        seconds = self._columns["duration"].to_numpy(zero_copy_only=False)
        if len(seconds) and 0 < (longest := float(seconds.max())) < _ENDLESS:
            ends = np.linspace(0, np.nextafter(longest, np.inf), _BARS + 1)  # what a condition leaves out is the end
            heights, _ = np.histogram(seconds[self.mask(conditions, but="duration")], ends)
            found["duration"] = {"ends": ends.tolist(), "counts": heights.tolist()}
        return found


def rows_of(ids: Sequence[str], collection: Collection) -> NDArray[np.int64]:
    """Return the collection's row of every recording that was embedded, int64 (N,).

    Raises:
        UsageError: one of them is not in the collection.
    """
    rows = pc.index_in(pa.array(ids, pa.string()), value_set=collection.table.column("id"))
    if rows.null_count:
        raise UsageError(
            f"{rows.null_count} of the {len(ids)} embedded recordings are not in {collection.folder}: it is another "
            "collection, or was indexed again; embed it"
        )
    return np.asarray(rows.to_numpy(zero_copy_only=False), np.int64)


def read_conditions(texts: Sequence[str]) -> list[Condition]:
    """Return the conditions that words on a command line ask for: `label=dog`, `duration=1..5`, `words=a dog`.

    Of one column several values may be had; all columns must fulfil theirs, and all words be there.

    Raises:
        ConditionError: one is none of these.
    """
    found: list[Condition] = []
    values: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in (*CHOICES, "duration", "words"):
            raise ConditionError(
                f"{text!r} is no condition; write COLUMN=VALUE, of {', '.join(CHOICES)} or words, or duration=1..5"
            )
        if name == "words":
            found.append({"column": name, "has": value})
        elif name == "duration":
            try:
                first, last = (
                    float(end) if end else default for end, default in zip(value.split(".."), (0.0, _LAST), strict=True)
                )
                if not (abs(first) < _ENDLESS and abs(last) < _ENDLESS):  # NaN is not either
                    raise ValueError("no such time")
            except ValueError as error:
                raise ConditionError(f"{text!r}: expected two ends in seconds, such as duration=1..5 or 2..") from error
            found.append({"column": name, "from": first, "to": last})
        else:
            values.setdefault(name, []).append(value)
    return [*found, *({"column": name, "in": wanted} for name, wanted in values.items())]


def finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields as JSON has them: what is no number there is None."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


def _is_text(value: object) -> bool:
    """Tell whether a value is text that can be compared: JSON and command lines can hold halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _kinds(columns: dict[str, pa.Array]) -> pa.Array:
    has = np.stack([_truths(columns["has_video"]), _truths(columns["has_audio"])])
    still = _truths(pc.equal(columns["duration"], 0.0))
    names = np.where(has.all(0), "picture and sound", np.where(has[0], np.where(still, "still", "picture"), "sound"))
    return pa.array(names.tolist(), pa.string())


def _truths(column: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), bool)
