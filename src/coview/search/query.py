"""Exact search in stored embeddings: the nearest recordings to a vector, and when in them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from coview.data.stored import Stored
from coview.data.views import read_view
from coview.errors import UsageError

_BLOCK = 1 << 25  # bytes of vectors at a time


@dataclass(frozen=True)
class Hit:
    """A recording near the query: its id, row and file, the seconds of its nearest window, and the cosine."""

    id: str
    row: int
    path: str
    start: float
    end: float
    similarity: float


def search(stored: Stored, view: str, query: Tensor, k: int = 5) -> list[Hit]:
    """Return the k nearest recordings, best first, each by its most similar window.

    Args:
        stored: where to look, among its vectors of `view`.
        view: the name of an embedding.
        query: float (D,), any length but zero, from the model that made the embeddings.
        k: recordings wanted; fewer come back where there are fewer.

    Every vector is compared; equal similarities stand in the order of the rows. What is not finite is never found.
    The vectors are scanned in float32, and all that its rounding leaves in doubt is compared in float64, row by row:
    hits and order do not depend on how many vectors are looked at together.

    Raises:
        UsageError: unknown view, k below 1, or a query of another dimension, of length zero or not finite.
    """
    if k < 1:
        raise UsageError(f"a search for {k} recordings finds nothing; ask for at least 1")
    clips, present = _arrays(stored, view)
    if not stored.card.get("normalised", True):
        raise UsageError(f"{stored.folder}: its vectors are not of length 1; embed for search by `coview embed`")
    dim = clips.shape[2]
    if query.shape != (dim,):
        raise UsageError(f"{stored.folder}: its {view} vectors have {dim} numbers, the query has {tuple(query.shape)}")
    if not bool(torch.isfinite(query).all()) or float(query.norm()) == 0:
        raise UsageError("the query's embedding is zero or not finite: the query says nothing to this model")
    unit = normalize(query.double().cpu(), dim=0).float().numpy()
    best = _scan(clips, present, unit)
    known = np.flatnonzero(np.isfinite(best))
    if not len(known):
        return []
    if len(known) > k:
        # Twice what rounding can do to an inner product of unit vectors of D numbers in float32.
        doubt = 2 * dim * float(np.finfo(np.float32).eps)
        known = known[best[known] >= np.partition(best[known], -k)[-k] - doubt]
    window, similarity = _compare(clips, present, unit, known)
    order = np.lexsort((known, -similarity))[:k]
    seconds = _seconds(stored, view)
    hits = []
    for row, place, value in zip(
        known[order].tolist(), window[order].tolist(), similarity[order].tolist(), strict=True
    ):
        start = float(stored.start[view][row, place])
        hits.append(Hit(stored.ids[row], row, stored.paths[row], start, start + seconds, value))
    return hits


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


def _arrays(stored: Stored, view: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if view not in stored.views:
        raise UsageError(
            f"{stored.folder}: there are no embeddings of {view!r}; there are of {', '.join(stored.views) or 'nothing'}"
        )
    return stored.clips[view], stored.present[view]


def _scan(clips: NDArray[np.float32], present: NDArray[np.bool_], unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the best cosine (N,) of every recording's windows, as float32 gives it; -inf where there is none."""
    rows, windows, dim = clips.shape
    step = max(1, _BLOCK // (windows * dim * 4))
    best = np.empty(rows, np.float32)
    for first in range(0, rows, step):
        block = slice(first, first + step)
        with np.errstate(invalid="ignore", over="ignore"):
            similarity = clips[block].reshape(-1, dim).astype(np.float32, copy=False) @ unit
        similarity = similarity.reshape(-1, windows)
        best[block] = np.where(present[block] & np.isfinite(similarity), similarity, -np.inf).max(1)
    return best


def _compare(
    clips: NDArray[np.float32], present: NDArray[np.bool_], unit: NDArray[np.float32], rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the best window and its cosine for some rows; every product is summed on its own, in one order."""
    windows, values, step = [], [], max(1, _BLOCK // (clips[0].size * 8))
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        with np.errstate(invalid="ignore"):
            cosine = (clips[some].astype(np.float64) * unit.astype(np.float64)).sum(2)
        cosine = np.where(present[some] & np.isfinite(cosine), cosine, -np.inf)
        windows.append(cosine.argmax(1))
        values.append(cosine.max(1))
    return np.concatenate(windows), np.concatenate(values)


def _seconds(stored: Stored, view: str) -> float:
    """Return how long a window is: that of the longest view that the embedding is made of."""
    cuts = stored.card.get("preprocessing", {})
    names = [view] if view in cuts else list(cuts)
    return max((read_view(cuts[name]).seconds for name in names), default=0.0)
