"""Ten crops of every test clip: the four corners and the middle, each as it is and mirrored.

Krizhevsky, Sutskever & Hinton 2012, section 4.1. AV-SSRL has the transform and its published evaluations do not use it.
Class probabilities are averaged over crops and windows alike: the crops of a window count as windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coview.data.source import Source
from coview.data.views import Batch
from coview.embedding.extract import Features, Space, extract
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.model import Model

CROPS = 10


def ten_crops(frames: Tensor, size: int, mirrorable: Tensor) -> list[Tensor]:
    """Return ten clips (B, 3, T, size, size) of raw ones (B, 3, T, H, W); mirrored only where allowed, bool (B,)."""
    down, right = frames.shape[-2] - size, frames.shape[-1] - size
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    plain = [frames[..., top : top + size, left : left + size] for top, left in places]
    allowed = mirrorable.to(frames.device)[:, None, None, None, None]
    return plain + [torch.where(allowed, clip.flip(-1), clip) for clip in plain]


def cropped_views(model: Model) -> list[str]:
    """Return the views of pictures, in the model's order.

    Raises:
        UsageError: there is none, or one is decoded no larger than the model's picture, so that nothing can be cut.
    """
    views = model.needed
    found = {name: view.square for name, view in views.items() if view.square}
    tight = [name for name, (decoded, size) in found.items() if decoded <= size]
    if tight or not found:
        why = f"{', '.join(tight)} is decoded at the model's own size (margin 1)" if tight else "no view has pictures"
        raise UsageError(f"ten crops need pictures with a margin: {why}")
    return list(found)


def extract_ten_crops(
    model: Model,
    source: Source,
    *,
    windows: int,
    space: Space,
    batch_size: int,
    progress: Callable[[int, int], None],
) -> Features:
    """Return the features of the views of pictures, (N, 10 W, D): W windows of N recordings, ten crops of each.

    Raises:
        UsageError: see `cropped_views`.
    """
    names = cropped_views(model)

    def embed(batch: Batch) -> dict[str, Tensor]:
        found = {}
        for name in names:
            size = model.views[name].shape[-1]
            for number, crop in enumerate(ten_crops(batch.views[name], size, batch.mirrorable)):
                one = dataclasses.replace(batch, views={name: crop})
                found[f"{name}/{number}"] = model.encode(one, space)[name]
        return found

    found = extract(
        model, source, windows=windows, space=space, batch_size=batch_size, embed=embed, progress=progress
    )  # fmt: skip

    def together(parts: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: torch.stack([parts[f"{name}/{number}"] for number in range(CROPS)], 2).flatten(1, 2) for name in names
        }

    return dataclasses.replace(
        found, clips=together(found.clips), clip_present=together(found.clip_present), start=together(found.start)
    )
