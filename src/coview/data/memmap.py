"""Small sets as memory-mapped arrays: cuts decoded once, then read at the speed of memory.

A folder of one `.npy` array per view (uint8 frames, int16 sound, first dimension recordings x cuts, or recordings
alone where all cuts are alike), `cuts.parquet` (one row per cut: id, row, cut, label, whether it may be mirrored, start
and presence of every view) and `memmap.json`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from coview.data.source import Source, sample_keys
from coview.data.views import Batch, ViewSpec, read_view
from coview.errors import DataProblemsError, SettingsError, UsageError
from coview.files import read_json, sha256_of
from coview.randomness import integers

FORMAT = 1
_CUTS, _STORED = "cuts.parquet", (".npy", ".parquet")
_REMEDY = "fill the set again"
_CARD: dict[str, type] = {
    "views": dict, "cuts": int, "recordings": int, "classes": list, "fingerprint": str, "once": list
}  # fmt: skip
_PICK = 400  # stream of a sample's key that chooses the stored cut
_CHUNK = 128  # recordings between two notes of how far the filling is


def fill(
    source: Source,
    folder: Path,
    *,
    cuts: int = 1,
    placing: Literal["random", "even"] = "random",
    seed: int = 0,
    once: Iterable[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write `cuts` cuts of every recording of a source, and return `folder`.

    The work is done in `<folder>.partial`, which is renamed when it is complete; a second call with the same arguments
    goes on where a stopped one ended.

    Args:
        placing: "random" cuts as training would in its first epochs, "even" at evenly spaced windows.
        seed: of the random cuts.
        once: views that all cuts of a recording have alike, such as a sound as long as the clip; stored once.
        progress: called with (recordings done, recordings in all).

    Raises:
        UsageError: the folder exists, a stopped filling was of something else, or cuts of a view in `once` differ.
        DataProblemsError: recordings could not be read; nothing is substituted, they have to be left out first.
    """
    if folder.exists():
        raise UsageError(f"{folder} already exists; remove it or choose another name")
    if cuts < 1 or (placing == "even" and source.windows(cuts) != cuts):
        raise UsageError(f"{source.name}: cannot be cut {cuts} times with placing {placing!r}")
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    alike = sorted(once)
    card = _card(source, cuts, placing, seed) | ({"once": alike} if alike else {})
    done, notes, problems = _resume(partial, card)
    arrays = {
        name: _array(partial, name, view, len(source) * (1 if name in alike else cuts), new=not done)
        for name, view in source.views.items()
    }
    for first in range(done, len(source), _CHUNK):
        row = torch.arange(first, min(first + _CHUNK, len(source)))
        for cut in range(cuts):
            position = row + cut * len(source)
            batch = source.read(row, sample_keys(seed, 0, position)) if placing == "random" else None
            batch = batch or source.read_window(row, cut, cuts)
            problems |= {source.ids[index]: reason for index, reason in batch.replaced}
            for name in source.views:
                raw = batch.views[name].cpu()
                stored = source.views[name].pack(raw)
                if name not in alike:
                    arrays[name][row * cuts + cut] = stored.numpy()
                elif cut == 0:
                    arrays[name][row] = stored.numpy()
                elif not np.array_equal(arrays[name][row], stored.numpy()):
                    raise UsageError(f"{source.name}: the cuts of {name!r} differ; it cannot be stored once")
            notes += _notes(source, batch, cut)
        for array in arrays.values():
            array.flush()
        done = int(row[-1]) + 1
        _note(partial, {"card": card, "done": done, "notes": notes, "problems": problems})
        progress(done, len(source))
    if problems:
        lines = "\n".join(f"  - {name}: {reason}" for name, reason in problems.items())
        raise DataProblemsError(f"{source.name}: cannot be stored, these recordings could not be read:\n{lines}")
    notes.sort(key=lambda note: (note["row"], note["cut"]))
    pq.write_table(pa.Table.from_pylist(notes), partial / _CUTS)
    card["digests"] = {path.name: sha256_of(path) for path in sorted(partial.iterdir()) if path.suffix in _STORED}
    (partial / "memmap.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (partial / "done.json").unlink(missing_ok=True)
    return partial.rename(folder)


class MemmapSource:
    """A filled folder as a source; implements `Source`. A sample's key chooses one of the stored cuts.

    Args:
        folder: as `fill` wrote it.
        views: what is wanted, a part of what is stored; model-side parameters (log-mel, normalisation, crop inside the
            stored margin) are free. None takes the stored views.

    Raises:
        UsageError: the folder is not of this kind, or a view was not stored this way.
    """

    def __init__(self, folder: Path | str, views: Mapping[str, ViewSpec] | None = None) -> None:
        self.folder = Path(folder)
        path = self.folder / "memmap.json"
        if not path.is_file():
            raise UsageError(f"{self.folder} is not a memory-mapped set (it has no memmap.json)")
        card = read_json(path, "memory-mapped set", remedy=_REMEDY)
        if card.get("format") != FORMAT:
            raise UsageError(f"{path}: format {card.get('format')!r}, but this version reads {FORMAT}; {_REMEDY}")
        card.setdefault("once", [])  # added later than the format
        wrong = [name for name, kind in _CARD.items() if not isinstance(card.get(name), kind)]
        named = [*card["classes"], *card["once"]] if not wrong else []
        if wrong or min(card["cuts"], card["recordings"], len(card["views"])) < 1 or set(map(type, named)) - {str}:
            raise UsageError(f"{path}: {', '.join(wrong) or 'its counts or names'} cannot be so; {_REMEDY}")
        try:
            stored = {name: read_view(fields) for name, fields in card["views"].items()}
        except (SettingsError, AttributeError) as error:
            raise UsageError(f"{path}: its views cannot be read ({error}); {_REMEDY}") from error
        self.views = dict(views or stored)
        _check_views(self.folder, self.views, stored)
        self.name = str(self.folder)
        self.cuts, rows = int(card["cuts"]), int(card["recordings"])
        table = self._table(rows * self.cuts)
        self.once = frozenset(card["once"])
        self.classes: list[str] = card["classes"]
        self.fingerprint = card["fingerprint"]  # of the source; a set of before says no more
        if "digests" in card:
            self.fingerprint = hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()[:16]
        self.ids: list[str] = table.column("id").to_pylist()[:: self.cuts]
        self.labels = torch.tensor(table.column("label").to_pylist()[:: self.cuts], dtype=torch.int64)
        self._start = {name: torch.tensor(table.column(f"start/{name}").to_pylist()) for name in self.views}
        self._present = {name: torch.tensor(table.column(f"present/{name}").to_pylist()) for name in self.views}
        self.lacking = {name: int((~present[:: self.cuts]).sum()) for name, present in self._present.items()}
        kept = table.column("mirrorable").to_pylist() if "mirrorable" in table.column_names else [True] * len(table)
        self._mirrorable = torch.tensor(kept[:: self.cuts], dtype=torch.bool)
        self._length = {
            name: torch.tensor(table.column(f"length/{name}").to_pylist())
            for name, view in self.views.items()
            if view.sequence and f"length/{name}" in table.column_names
        }
        if int(self.labels.min()) < -1 or int(self.labels.max()) >= len(self.classes):
            raise UsageError(f"{self.folder / _CUTS}: it has labels that are none of its {len(self.classes)} classes")
        self._arrays: dict[str, Any] = {}
        for name in self.views:
            self._array(name, rows * (1 if name in self.once else self.cuts))

    def _table(self, cuts: int) -> pa.Table:
        """Read and check the table of cuts: in order, one row each."""
        path = self.folder / _CUTS
        columns = [
            "id",
            "row",
            "cut",
            "label",
            *(f"{what}/{name}" for name in self.views for what in ("start", "present")),
        ]
        try:
            with pq.ParquetFile(path) as file:
                if file.metadata.num_rows != cuts:
                    raise ValueError(f"it holds {file.metadata.num_rows} cuts, and memmap.json counts {cuts}")
                table = file.read()
            order = table.column("row").to_numpy() * self.cuts + table.column("cut").to_numpy()
            if not np.array_equal(order, np.arange(cuts)) or any(table.column(name).null_count for name in columns):
                raise ValueError("its rows are not in order, or have empty places")
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise UsageError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
        return table

    def _array(self, name: str, count: int) -> Any:
        """Map a view's array, once; the file must hold what it announces."""
        path, view = self.folder / f"{name}.npy", self.views[name]
        if name not in self._arrays:
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise UsageError(f"{path}: cannot be read ({error}); {_REMEDY}") from error
            if array.shape != (count, *view.raw_shape) or array.dtype != view.stored_dtype:
                raise UsageError(f"{path}: {array.dtype} {array.shape} does not fit {count} of {view}; {_REMEDY}")
            self._arrays[name] = array
        return self._arrays[name]

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}}  # a worker maps the files itself instead of receiving their contents

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`; nothing is ever replaced."""
        return self._take(row, integers(key, _PICK, self.cuts), key)

    def windows(self, count: int) -> int:
        """Return how many of `count` windows are stored."""
        return min(count, self.cuts)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """See `Source.read_window`: of more stored cuts than asked for, evenly chosen ones."""
        cut = window * (self.cuts - 1) // (count - 1) if count > 1 else (self.cuts - 1) // 2
        return self._take(row, torch.full_like(row, cut), torch.zeros_like(row))

    def _take(self, row: Tensor, cut: Tensor, key: Tensor) -> Batch:
        slot = row * self.cuts + cut
        views = {}
        for name, view in self.views.items():
            count = len(self) * (1 if name in self.once else self.cuts)
            raw = torch.from_numpy(self._array(name, count)[(row if name in self.once else slot).numpy()])
            views[name] = view.unpack(raw)
        return Batch(
            views=views,
            row=row,
            key=key,
            start={name: values[slot] for name, values in self._start.items()},
            present={name: values[slot] for name, values in self._present.items()},
            length={name: values[slot] for name, values in self._length.items()},
            label=self.labels[row],
            mirrorable=self._mirrorable[row],
        )


def _card(source: Source, cuts: int, placing: str, seed: int) -> dict[str, Any]:
    views = {name: json.loads(json.dumps(dataclasses.asdict(view))) for name, view in source.views.items()}
    return {
        "format": FORMAT,
        "source": source.name,
        "fingerprint": source.fingerprint,
        "recordings": len(source),
        "cuts": cuts,
        "placing": placing,
        "seed": seed,
        "classes": source.classes,
        "views": views,
    }


def _note(partial: Path, state: dict[str, Any]) -> None:
    aside = partial / "done.json.new"
    aside.write_text(json.dumps(state), encoding="utf-8")
    aside.replace(partial / "done.json")


def _resume(partial: Path, card: dict[str, Any]) -> tuple[int, list[dict[str, Any]], dict[str, str]]:
    note = partial / "done.json"
    if not note.is_file():
        return 0, [], {}
    state = json.loads(note.read_text(encoding="utf-8"))
    if state["card"] != card:
        raise UsageError(f"{partial} holds an unfinished set of something else; remove it")
    return int(state["done"]), state["notes"], state["problems"]


def _array(partial: Path, name: str, view: ViewSpec, count: int, new: bool) -> Any:
    path = partial / f"{name}.npy"
    if not new:
        return np.lib.format.open_memmap(path, mode="r+")
    return np.lib.format.open_memmap(path, mode="w+", dtype=view.stored_dtype, shape=(count, *view.raw_shape))


def _notes(source: Source, batch: Batch, cut: int) -> list[dict[str, Any]]:
    notes = []
    for index, row in enumerate(batch.row.tolist()):
        note: dict[str, Any] = {"id": source.ids[row], "row": row, "cut": cut, "label": int(batch.label[index])}
        note["mirrorable"] = bool(batch.mirrorable[index])
        for name in source.views:
            note[f"start/{name}"] = float(batch.start[name][index])
            note[f"present/{name}"] = bool(batch.present[name][index])
            if name in batch.length:
                note[f"length/{name}"] = int(batch.length[name][index])
        notes.append(note)
    return notes


def _check_views(folder: Path, views: Mapping[str, ViewSpec], stored: Mapping[str, ViewSpec]) -> None:
    for name, view in views.items():
        if name not in stored:
            raise UsageError(f"{folder}: no view {name!r} is stored; there are {', '.join(stored)}")
        if view.stored != stored[name].stored:
            raise UsageError(f"{folder}: view {name!r} is stored as {stored[name].stored}, but {view.stored} is wanted")
