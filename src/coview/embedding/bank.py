"""A feature bank: the features of a collection in memory-mapped files, for collections larger than memory.

`<folder>/<view>.npy` is float16 or float32 (rows, D), a row per recording, `<view>.present.npy` bool (rows,). Several
processes that see one folder write their own rows side by side. What is read back are tensors over the files: a block
of rows is read when it is looked at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from coview import parallel
from coview.data.source import Source
from coview.embedding.extract import Space, extract_locally
from coview.errors import CoviewError
from coview.files import write_aside

if TYPE_CHECKING:
    from coview.model import Model

FORMAT = 1
BLOCK = 4096  # recordings embedded between two writes


@dataclass(frozen=True)
class FeatureBank:
    """Features on disk, with the names of `Features` that clustering uses.

    Attributes:
        values: view -> (rows, D) over a memory-mapped file; zero where absent.
        present: view -> bool (rows,).
    """

    values: dict[str, Tensor]
    present: dict[str, Tensor]

    @classmethod
    def open(cls, folder: Path) -> FeatureBank:
        """Map the files of a complete bank; raises CoviewError where there is none."""
        card = folder / "bank.json"
        if not card.exists():
            raise CoviewError(f"{folder}: not a complete feature bank (it has no bank.json); write it again")
        about: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise CoviewError(f"{card}: format {about['format']}, but this version reads {FORMAT}; write it again")
        views = about["views"]
        # Copy-on-write: a tensor may not lie on memory that cannot be written to.
        return cls(
            {view: torch.from_numpy(np.load(folder / f"{view}.npy", mmap_mode="c")) for view in views},
            {view: torch.from_numpy(np.load(folder / f"{view}.present.npy")) for view in views},
        )


def write_bank(
    model: Model,
    source: Source,
    folder: Path,
    *,
    space: Space = "backbone",
    precision: Literal["float16", "float32"] = "float32",
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureBank:
    """Embed a source into `folder`, which is replaced, and return the bank; every process writes a run of the rows.

    One evenly placed cut of each recording is embedded, without augmentation. Blocks of 4096 recordings are held at
    once. All processes must see the folder.

    Raises:
        CoviewError: the folder cannot be written, or is not the same one for all processes.
    """
    rows, world = len(source), parallel.world_size()
    device = next(model.method.parameters()).device
    first, last = (rows * (parallel.rank() + step) // world for step in (0, 1))
    probe = extract_locally(model, source, torch.arange(min(rows, 1)), space=space, batch_size=1)
    widths = {view: value.shape[1] for view, value in probe.values.items()}
    problem = ""
    if parallel.is_main():
        try:
            _make(folder, rows, widths, precision)
        except OSError as error:
            problem = f"{folder}: the feature bank cannot be written ({error}); make room or choose another disk"
    _wait(device)
    try:
        files = {view: np.load(folder / f"{view}.npy", mmap_mode="r+") for view in widths}
        there = {view: np.load(folder / f"{view}.present.npy", mmap_mode="r+") for view in widths}
    except OSError as error:
        problem = problem or f"{folder}: not the same folder on all processes ({error}); use a shared disk"
    if bool(parallel.gather(torch.tensor([bool(problem)], dtype=torch.uint8, device=device)).any()):
        raise CoviewError(
            problem or f"{folder}: another process could not write the feature bank; its message says why"
        )
    for start in range(first, last, BLOCK):
        part = torch.arange(start, min(start + BLOCK, last))
        found = extract_locally(model, source, part, space=space, batch_size=batch_size)
        for view, values in found.values.items():
            files[view][start : start + len(part)] = values.numpy().astype(precision)
            there[view][start : start + len(part)] = found.present[view].numpy()
        if progress:
            progress(int(part[-1]) + 1 - first, last - first)
    for file in (*files.values(), *there.values()):
        file.flush()
    _wait(device)
    if parallel.is_main():
        card = {"format": FORMAT, "views": sorted(widths), "source": source.fingerprint, "rows": rows, "space": space}
        write_aside(folder / "bank.json", json.dumps(card, indent=1) + "\n")
    _wait(device)
    return FeatureBank.open(folder)


def _make(folder: Path, rows: int, widths: dict[str, int], precision: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for view, width in widths.items():
        np.lib.format.open_memmap(folder / f"{view}.npy", mode="w+", dtype=precision, shape=(rows, width))
        np.lib.format.open_memmap(folder / f"{view}.present.npy", mode="w+", dtype=bool, shape=(rows,))


def _wait(device: torch.device) -> None:
    """Let every process arrive here."""
    parallel.row_counts(torch.zeros(1, device=device))
