"""Small sets as memory-mapped arrays: cuts decoded once, then read at the speed of memory.

A folder of one `.npy` array per view (uint8 frames, int16 sound, first dimension recordings x cuts, or recordings
alone where all cuts are alike), `cuts.parquet` (one row per cut: id, row, cut, label, whether it may be mirrored, start
and presence of every view) and `memmap.json`.
"""

from __future__ import annotations

import dataclasses
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
from coview.errors import DataProblemsError, UsageError
from coview.randomness import integers

FORMAT = 1
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
    pq.write_table(pa.Table.from_pylist(notes), partial / "cuts.parquet")
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
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["format"] != FORMAT:
            raise UsageError(f"{path}: format {card['format']}, but this version reads {FORMAT}; fill it again")
        stored = {name: read_view(fields) for name, fields in card["views"].items()}
        self.views = dict(views or stored)
        _check_views(self.folder, self.views, stored)
        table = pq.read_table(self.folder / "cuts.parquet")
        self.name = str(self.folder)
        self.cuts = int(card["cuts"])
        self.once = frozenset(card.get("once", ()))
        self.classes: list[str] = card["classes"]
        self.fingerprint = str(card["fingerprint"])
        self.ids: list[str] = table.column("id").to_pylist()[:: self.cuts]
        self.labels = torch.tensor(table.column("label").to_pylist()[:: self.cuts], dtype=torch.int64)
        self._start = {name: torch.tensor(table.column(f"start/{name}").to_pylist()) for name in self.views}
        self._present = {name: torch.tensor(table.column(f"present/{name}").to_pylist()) for name in self.views}
        self.lacking = {name: int((~present[:: self.cuts]).sum()) for name, present in self._present.items()}
        kept = table.column("mirrorable").to_pylist() if "mirrorable" in table.column_names else [True] * len(table)
        self._mirrorable = torch.tensor(kept[:: self.cuts], dtype=torch.bool)
        self._arrays: dict[str, Any] = {}

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
            if name not in self._arrays:
                self._arrays[name] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
            raw = torch.from_numpy(self._arrays[name][(row if name in self.once else slot).numpy()])
            views[name] = view.unpack(raw)
        return Batch(
            views=views,
            row=row,
            key=key,
            start={name: values[slot] for name, values in self._start.items()},
            present={name: values[slot] for name, values in self._present.items()},
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
        notes.append(note)
    return notes


def _check_views(folder: Path, views: Mapping[str, ViewSpec], stored: Mapping[str, ViewSpec]) -> None:
    for name, view in views.items():
        if name not in stored:
            raise UsageError(f"{folder}: no view {name!r} is stored; there are {', '.join(stored)}")
        if view.stored != stored[name].stored:
            raise UsageError(f"{folder}: view {name!r} is stored as {stored[name].stored}, but {view.stored} is wanted")
