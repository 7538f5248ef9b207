"""Features that are computed once for all protocols and calls: kept beside the model, found again after a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from coview import parallel
from coview.data.source import Source
from coview.embedding.extract import Features, Space, extract
from coview.embedding.stored import features_of, store
from coview.settings import to_dict

if TYPE_CHECKING:
    from coview.model import Model


def extract_once(
    folder: Path,
    model: Model,
    source: Source,
    *,
    windows: int,
    space: Space,
    batch_size: int,
    progress: Callable[[int, int], None],
) -> Features:
    """Return what `extract` returns, from `folder` where it was computed before; else it is kept there.

    The name of what is kept is a digest of all that the numbers depend on, so that it never has to be removed for
    being wrong, and may be removed at any time. Processes that do not share the folder compute, and keep nothing.
    """
    how = {
        "settings": to_dict(model.method.settings),
        "device": model.device.type,
        "source": [source.name, source.fingerprint, len(source)],
        "first_and_last": content(source, windows),
        "batch_size": batch_size,
        "version": version("coview"),
    }
    about = {**how, "model": model.digest, "views": to_dict(source.views), "space": space, "windows": windows}
    place = folder / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    if not _shared(place):
        return extract(model, source, windows=windows, space=space, batch_size=batch_size, progress=progress)
    found = store(
        model, source, place, space=space, windows=windows, batch_size=batch_size, normalised=False, about=how,
        progress=progress,
    )  # fmt: skip
    return features_of(found, source)


def extract_to_disk(
    folder: Path,
    model: Model,
    source: Source,
    *,
    space: Space = "backbone",
    precision: Literal["float16", "float32"] = "float32",
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Return the features of one cut of each recording, which lie in `folder`: for more than fits into memory.

    The folder is replaced; all processes must see it.

    Raises:
        UsageError, CoviewError: as `store`.
    """
    if parallel.is_main():
        shutil.rmtree(folder, ignore_errors=True)
    parallel.row_counts(torch.zeros(1, device=parallel.collective_device()))  # the others wait
    found = store(
        model, source, folder, space=space, batch_size=batch_size, normalised=False, precision=precision,
        progress=progress,
    )  # fmt: skip
    return features_of(found, source)


def content(source: Source, windows: int) -> str:
    """Return the SHA-256 of the raw views of the first and the last recording: the media are still what they were."""
    state = hashlib.sha256()
    for row in (0, len(source) - 1):
        batch = source.read_window(torch.tensor([row]), 0, source.windows(windows))
        for name in sorted(batch.views):
            state.update(batch.views[name].contiguous().numpy().tobytes())
    return state.hexdigest()


def _shared(folder: Path) -> bool:
    """Tell whether all processes see one folder; asked by a mark that process 0 makes for a moment."""
    if parallel.world_size() == 1:
        return True
    mark, where = folder.parent / f".{folder.name}.shared", parallel.collective_device()

    def together(value: bool) -> bool:
        return bool(parallel.gather(torch.tensor([value], dtype=torch.uint8, device=where)).all())

    if parallel.is_main():
        mark.mkdir(parents=True, exist_ok=True)
    together(True)
    seen = together(mark.is_dir())
    if parallel.is_main():
        mark.rmdir()
    return seen
