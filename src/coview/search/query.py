"""Exact search in stored embeddings: the nearest recordings to a vector, and when in them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.stored import Stored
from coview.data.views import read_view
from coview.embedding.gallery import Gallery
from coview.errors import UsageError


@dataclass(frozen=True)
class Hit:
    """A recording near the query: its id, row and file, the seconds of its nearest window, and the cosine."""

    id: str
    row: int
    path: str
    start: float
    end: float
    similarity: float


def search(stored: Stored, view: str, query: Tensor, k: int = 5, rows: NDArray[Any] | None = None) -> list[Hit]:
    """Return the k nearest recordings, best first, each by its most similar window.

    Args:
        stored: where to look, among its vectors of `view`; opened once, it serves any number of queries.
        view: the name of an embedding.
        query: float (D,), any length but zero, from the model that made the embeddings.
        k: recordings wanted; fewer come back where there are fewer.
        rows: only among these rows of the store, int (M,) ascending or bool (N,).

    Every vector is compared, and hits and their order are those of sorting all cosines; see `Gallery.nearest`.

    Raises:
        UsageError: unknown view, k below 1, or a query of another dimension, of length zero or not finite.
    """
    found = gallery_of(stored, view).nearest(query, k, rows)
    seconds = window_seconds(stored, view)
    hits = []
    for row, place, value in zip(found.rows.tolist(), found.windows.tolist(), found.similarity.tolist(), strict=True):
        start = float(stored.start[view][row, place])
        hits.append(Hit(stored.ids[row], row, stored.paths[row], start, start + seconds, value))
    return hits


def gallery_of(stored: Stored, view: str) -> Gallery:
    """Return the vectors of one embedding, to be searched where they lie.

    Raises:
        UsageError: unknown view, or vectors that are not of length 1.
    """
    clips, present = _arrays(stored, view)
    if not stored.card.get("normalised", True):
        raise UsageError(f"{stored.folder}: its vectors are not of length 1; embed for search by `coview embed`")
    return Gallery(clips, present)


def stored_vector(stored: Stored, view: str, recording: str) -> Tensor:
    """Return the mean (D,) of the vectors of one recording's windows.

    Raises:
        UsageError: unknown view, or there is no such recording with this view.
    """
    clips, present = _arrays(stored, view)
    row = stored.ids.index(recording) if recording in stored.ids else -1
    if row < 0:
        near = difflib.get_close_matches(recording, stored.ids, n=1)
        hint = f"did you mean {near[0]!r}" if near else f"ids are names such as {stored.ids[0]!r}"
        raise UsageError(f"the collection has no recording {recording!r}; {hint}")
    if not bool(present[row].any()):
        raise UsageError(f"there is no recording {recording!r} with {view}; choose another one, or another --from")
    return torch.from_numpy(clips[row][present[row]].astype(np.float32)).mean(0)


def window_seconds(stored: Stored, view: str) -> float:
    """Return how long a window is: that of the longest view that the embedding is made of."""
    cuts = stored.card.get("preprocessing", {})
    names = [view] if view in cuts else list(cuts)
    return max((read_view(cuts[name]).seconds for name in names), default=0.0)


def _arrays(stored: Stored, view: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    if view not in stored.views:
        raise UsageError(
            f"{stored.folder}: there are no embeddings of {view!r}; there are of {', '.join(stored.views) or 'nothing'}"
        )
    return stored.clips[view], stored.present[view]
