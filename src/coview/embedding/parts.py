"""One part of a store of features: made where it is missing or damaged, in this process or in another one."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.nn.functional import normalize

from coview.data.source import Source
from coview.data.stored import Array, digest_of, map_all, read_card, read_part, rows_of
from coview.embedding.extract import Features, Space, extract_locally
from coview.errors import CoviewError
from coview.files import write_aside

if TYPE_CHECKING:
    from coview.model import Model

Embedding = Callable[[torch.Tensor], Features]  # rows, int64 -> what a model makes of them


class Opener(Hashable, Protocol):
    """Says how any process opens the model and the source of a store; hashable and picklable."""

    def open(self) -> tuple[Model, Source]:
        """Return the model on the processor, and the source in the views it needs."""
        ...


@dataclass(frozen=True)
class PartTask:
    """A part of a store that another process makes."""

    folder: Path
    number: int
    opener: Opener
    windows: int
    space: Space
    batch_size: int
    normalised: bool


def make_elsewhere(task: PartTask) -> int:
    """Make a part in a process that has neither model nor source yet, with one thread; returns its number.

    Raises:
        CoviewError: what is opened here is not what the store was begun with, or nothing can be written.
    """
    torch.set_num_threads(1)
    model, source = _opened(task.opener)
    card = read_card(task.folder)
    if (card["model"], card["collection"]) != (model.digest, source.fingerprint):
        raise CoviewError(f"{task.folder}: a process found another model or collection; all must see the same files")

    def embed(rows: torch.Tensor) -> Features:
        return extract_locally(model, source, rows, windows=task.windows, space=task.space, batch_size=task.batch_size)

    try:
        make_part(task.folder, card, task.number, embed, source, task.normalised)
    except OSError as error:
        raise CoviewError(f"{task.folder}: a part cannot be written ({error.strerror or error})") from error
    return task.number


@functools.lru_cache(maxsize=1)
def _opened(opener: Opener) -> tuple[Model, Source]:
    return opener.open()  # once per process, not once per part


def make_part(
    folder: Path, card: Mapping[str, Any], number: int, embed: Embedding, source: Source, normalised: bool
) -> None:
    """Make a part that is missing or damaged, and try again what of it could not be read.

    Raises:
        OSError: it cannot be written.
        CoviewError: as `extract_locally`.
    """
    rows, part = rows_of(card, number), read_part(folder, number)
    if part is None or part.digest != digest_of(map_all(folder, card), rows):
        wanted = torch.arange(rows.start, rows.stop)
    else:
        wanted = torch.tensor(sorted({row for row, _ in part.problems}), dtype=torch.int64)
    if not wanted.numel():
        return
    found = embed(wanted)
    for name, clips in found.clips.items():
        vectors = (normalize(clips, dim=2) if normalised else clips).numpy().astype(card["precision"])
        _write(folder / f"{name}.npy", wanted, vectors)
        _write(folder / f"{name}.present.npy", wanted, found.clip_present[name].numpy())
        _write(folder / f"{name}.start.npy", wanted, found.start[name].numpy())
    row_of = {source.ids[row]: row for row in range(rows.start, rows.stop)}
    problems = sorted((row_of[recording], reason) for recording, reason in found.problems)
    text = {"digest": digest_of(map_all(folder, card), rows), "problems": problems}
    write_aside(folder / "done" / f"{number:05d}.json", json.dumps(text) + "\n")


def _write(path: Path, rows: torch.Tensor, values: Array) -> None:
    """Write rows (ascending) into an array's file: a full disk is an error here, and would kill in mapped memory."""
    offset = int(np.load(path, mmap_mode="r", allow_pickle=False).offset)
    gaps = np.flatnonzero(np.diff(rows.numpy()) != 1) + 1
    with path.open("r+b") as stream:
        for places in np.split(np.arange(len(rows)), gaps):
            stream.seek(offset + int(rows[places[0]]) * values[0].nbytes)
            stream.write(np.ascontiguousarray(values[places]).data)
