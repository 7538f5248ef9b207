"""Exact search in a store: the nearest recordings to a vector, and when in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.embedding.stored import Store
from coview.errors import UsageError

_BLOCK = 65536  # vectors at a time: 128 MB at 512 dimensions


@dataclass(frozen=True)
class Hit:
    """A recording near the query: its id, row and file, the seconds of its nearest window, and the cosine."""

    id: str
    row: int
    path: str
    start: float
    end: float
    similarity: float


def search(store: Store, view: str, query: Tensor, k: int = 5) -> list[Hit]:
    """Return the k nearest recordings, best first, each by its most similar window.

    Args:
        store: where to look, among its vectors of `view`.
        view: the name of the view.
        query: float (D,), any length but zero, from the model that made the store.
        k: recordings wanted; fewer come back where the store has fewer.

    Every vector is compared; equal similarities stand in the order of the store.

    Raises:
        UsageError: unknown view, k below 1, or a query of another dimension or of length zero.
    """
    if k < 1:
        raise UsageError(f"a search for {k} recordings finds nothing; ask for at least 1")
    dim = store.card["views"].get(view)
    if dim is not None and query.shape != (dim,):
        raise UsageError(f"{store.folder}: its {view} vectors have {dim} numbers, the query has {tuple(query.shape)}")
    if not bool(torch.isfinite(query).all()) or float(query.norm()) == 0:
        raise UsageError("the query's embedding is zero or not finite: the query says nothing to this model")
    unit = normalize(query.float().cpu(), dim=0).numpy()
    best: dict[int, tuple[float, pa.Table]] = {}  # row -> cosine and table line, in the order of the store
    for part in store.parts(view):
        for first in range(0, part.vectors.shape[0], _BLOCK):
            similarity = part.vectors[first : first + _BLOCK] @ unit
            rows = part.table.column("row").to_numpy()[first : first + _BLOCK]
            order = np.argsort(-similarity, kind="stable")
            # The first time a row appears in the order is its best window; k rows of each block are enough.
            nearest = order[np.sort(np.unique(rows[order], return_index=True)[1])[:k]]
            for place in sorted(nearest.tolist()):
                row, value = int(rows[place]), float(similarity[place])
                if row not in best or value > best[row][0]:
                    best[row] = value, part.table.slice(first + place, 1)
            best = dict(sorted(best.items(), key=lambda item: -item[1][0])[:k])
    return [_hit(value, line) for value, line in best.values()]


def stored_vector(store: Store, view: str, recording: str) -> Tensor:
    """Return the mean (D,) of the vectors of one recording's windows.

    Raises:
        UsageError: unknown view, or the store has no such recording with this view.
    """
    found = []
    for part in store.parts(view):
        own = np.asarray(part.table.column("id").to_pylist()) == recording
        found.append(torch.from_numpy(np.asarray(part.vectors[own])))
    vectors = torch.cat(found)
    if len(vectors) == 0:
        raise UsageError(
            f"{store.folder}: there is no recording {recording!r} with {view}; ids are as in the collection"
        )
    return vectors.mean(0)


def _hit(similarity: float, line: pa.Table) -> Hit:
    fields = line.select(["id", "row", "path", "start", "end"]).to_pylist()[0]
    return Hit(**fields, similarity=similarity)
