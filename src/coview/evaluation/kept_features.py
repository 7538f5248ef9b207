"""Features that are computed once for all protocols and calls: kept beside the model, found again after a kill."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from coview.data.source import Source
from coview.embedding.extract import Features, Space, extract, fingerprint
from coview.evaluation.resume import Piece, digest, keep
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
    """Return what `features.extract` returns, from `folder` where it was computed before; else it is kept there.

    The file's name is a digest of all that the numbers depend on, so that what is kept never has to be removed for
    being wrong, and may be removed at any time.
    """
    about = {
        "model": fingerprint(model),
        "settings": to_dict(model.method.settings),
        "device": next(model.method.parameters()).device.type,
        "source": [source.name, source.fingerprint, len(source)],
        "views": to_dict(source.views),
        "first_and_last": content(source, windows),
        "space": space,
        "windows": windows,
        "batch_size": batch_size,
        "version": version("coview"),
    }

    def make() -> Piece:
        found = extract(model, source, windows=windows, space=space, batch_size=batch_size, progress=progress)
        parts = {"clips": found.clips, "present": found.clip_present, "start": found.start}
        return Piece({}, {f"{name}/{view}": part[view] for name, part in parts.items() for view in part})

    tensors = keep(folder / f"{digest(about)}.json", about, make).tensors

    def part(name: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}

    return Features(
        clips=part("clips"),
        clip_present=part("present"),
        start=part("start"),
        labels=source.labels,
        rows=torch.arange(len(source)),
        ids=list(source.ids),
        classes=list(source.classes),
    )


def content(source: Source, windows: int) -> str:
    """Return the SHA-256 of the raw views of the first and the last recording: the media are still what they were."""
    state = hashlib.sha256()
    for row in (0, len(source) - 1):
        batch = source.read_window(torch.tensor([row]), 0, source.windows(windows))
        for name in sorted(batch.views):
            state.update(batch.views[name].contiguous().numpy().tobytes())
    return state.hexdigest()
