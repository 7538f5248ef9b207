"""Pictures of searches: a row for each query, the query first, then what was found for it, best first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

from coview.data.source import Source
from coview.data.views import Batch
from coview.embedding.extract import Features, Space, extract_locally
from coview.embedding.gallery import Gallery
from coview.randomness import make_key, uniform

if TYPE_CHECKING:
    from coview.model import Model

GALLERY, QUERIES, FOUND = 500, 5, 7
SIDE, FRAME = 96, 4  # pixels of a picture and of the frame around it
# Frames: the query's own recording, one of its class, one of another, and where labels are not known.
PAIR, CLASS, OTHER, UNKNOWN = (0.2, 0.4, 0.9), (0.2, 0.65, 0.3), (0.8, 0.25, 0.2), (0.6, 0.6, 0.6)


def write_grids(
    model: Model, source: Source, folder: Path, *, spaces: Sequence[Space] = ("projected",), seed: int = 0
) -> list[Path]:
    """Write `retrieval-<direction>[@backbone].png` for every direction that the views allow; returns the files.

    Args:
        model, source: whose embeddings, of what; up to 500 recordings, chosen by the seed.
        folder: where the files go.
        spaces: as in `retrieve`.
    """
    rows = torch.argsort(uniform(make_key(seed, torch.arange(len(source))), 1), stable=True)[:GALLERY].sort().values
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for space in spaces:
        if space == "projected" and not len(model.method.projectors):
            continue
        features = extract_locally(model, source, rows, space=space)
        for one, other in itertools.product(model.distinct_views(), repeat=2):
            both = (features.present[one] & features.present[other]).nonzero().squeeze(1)
            same_length = features.clips[one].shape[-1] == features.clips[other].shape[-1]
            if both.numel() <= FOUND or not same_length:
                continue
            end = "" if space == "projected" else f"@{space}"
            path = folder / f"retrieval-{one}-to-{other}{end}.png"
            grid = draw_grid(features, source, one, other, both, seed).permute(1, 2, 0)
            Image.fromarray((grid.clamp(0, 1) * 255).round().to(torch.uint8).numpy()).save(path)
            written.append(path)
    return written


def draw_grid(features: Features, source: Source, one: str, other: str, both: Tensor, seed: int) -> Tensor:
    """Return float32 (3, H, W) in [0, 1]: up to 5 queries among `both`, 7 found for each; white where none can ask."""
    asking = both[(features.values[one][both] != 0).any(1)]  # an embedding of zeros is near nothing
    queries = asking[torch.argsort(uniform(make_key(seed, asking), 2), stable=True)][:QUERIES]
    gallery = Gallery(normalize(features.values[other], dim=1)[:, None])
    lines = []
    for asked in queries.tolist():
        rows = both[both != asked] if one == other else both
        best = gallery.nearest(features.values[one][asked], FOUND, rows.numpy()).rows
        shown = torch.cat([torch.tensor([asked]), torch.from_numpy(best)])
        batch = source.read_window(features.rows[shown], 0, 1)
        pictures = [_picture(source, batch, place) for place in range(len(shown))]
        colours = [UNKNOWN, *(_colour(features, asked, int(found)) for found in best)]
        framed = [_frame(picture, colour) for picture, colour in zip(pictures, colours, strict=True)]
        lines.append(torch.cat([framed[0], torch.ones(3, SIDE + 2 * FRAME, 2 * FRAME), *framed[1:]], 2))
    return torch.cat(lines, 1).clamp(0, 1) if lines else torch.ones(3, SIDE, SIDE)


def _colour(features: Features, asked: int, found: int) -> tuple[float, float, float]:
    mine, theirs = int(features.labels[asked]), int(features.labels[found])
    if found == asked:
        return PAIR
    return UNKNOWN if min(mine, theirs) < 0 else CLASS if mine == theirs else OTHER


def _picture(source: Source, batch: Batch, place: int) -> Tensor:
    """Return the middle frame of a recording, or its spectrogram where there is no picture: float32 (3, S, S)."""
    here = {name: spec for name, spec in source.views.items() if bool(batch.present[name][place])}
    for name in sorted(here, key=lambda name: here[name].square is None):  # what is seen first
        picture = here[name].picture(batch.views[name][place])
        if picture is not None:
            return _resize(picture)
    return torch.zeros(3, SIDE, SIDE)


def _resize(picture: Tensor) -> Tensor:
    return interpolate(picture[None], size=(SIDE, SIDE), mode="bilinear", antialias=True)[0]


def _frame(picture: Tensor, colour: tuple[float, float, float]) -> Tensor:
    framed = pad(picture, (FRAME,) * 4)
    inside = pad(torch.ones(1, SIDE, SIDE), (FRAME,) * 4)
    return torch.where(inside > 0, framed, torch.tensor(colour)[:, None, None])
