"""Exact nearest neighbours of one vector among the windows of N recordings: the one search that all of coview uses.

Nothing is built and nothing is copied: the vectors are scanned where they lie, which may be a file, so that opening a
gallery costs nothing and any number of queries may share it. A filter comes first: what it leaves out is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from coview.errors import UsageError

_BLOCK = 1 << 22  # bytes of float32 vectors at a time: they stay in the cache while they are compared
_FEW = 8  # gathering a row costs as much as scanning this many

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Nearest:
    """The recordings nearest to a query, best first.

    Attributes:
        rows: int (K,) of the recordings.
        windows: int (K,), which of its windows is the most similar one.
        similarity: float64 (K,), its cosine.
    """

    rows: Rows
    windows: Rows
    similarity: NDArray[np.float64]


class Gallery:
    """Vectors to be searched.

    Args:
        clips: float32 or float16 (N, W, D), of length 1 where present; mapped files are read where they lie.
        present: bool (N, W); all are there by default.
    """

    def __init__(self, clips: NDArray[Any] | Tensor, present: NDArray[np.bool_] | Tensor | None = None) -> None:
        self.clips: NDArray[Any] = np.asarray(clips)
        self.present: NDArray[np.bool_] = (
            np.ones(self.clips.shape[:2], bool) if present is None else np.asarray(present)
        )

    def __len__(self) -> int:
        return int(self.clips.shape[0])

    def nearest(self, query: Tensor, k: int, rows: NDArray[Any] | None = None) -> Nearest:
        """Return the k nearest recordings, each by its most similar window.

        Args:
            query: float (D,), any length but zero.
            k: recordings wanted, at least 1; fewer come back where there are fewer.
            rows: where to look, as int (M,) ascending or bool (N,); everywhere by default.

        Every vector is compared; equal similarities stand in the order of the rows. What is not finite is never found.
        The vectors are scanned in float32, and all that its rounding leaves in doubt is compared in float64, row by
        row: recordings and order depend neither on how many vectors are looked at together, nor on how they are
        divided.

        Raises:
            UsageError: k below 1; a query of another dimension, of length zero or not finite; rows that are not there.
        """
        if k < 1:
            raise UsageError(f"a search for {k} recordings finds nothing; ask for at least 1")
        unit, chosen = self._unit(query), self._chosen(rows)
        best = self._scan(unit, chosen)
        known = np.flatnonzero(np.isfinite(best))
        if len(known) > k:
            # Twice what rounding can do to an inner product of unit vectors of D numbers in float32.
            doubt = 2 * len(unit) * float(np.finfo(np.float32).eps)
            known = known[best[known] >= np.partition(best[known], -k)[-k] - doubt]
        known = known if chosen is None else chosen[known]
        window, similarity = self._compare(unit, known)
        order = np.lexsort((known, -similarity))[:k]
        return Nearest(known[order], window[order], similarity[order])

    def scores(self, query: Tensor, rows: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Return the best cosine of every recording's windows, float32 (N,) or of `rows` (M,); -inf where it has none.

        Raises:
            UsageError: as `nearest`.
        """
        return self._scan(self._unit(query), self._chosen(rows))

    def cosines(self, query: Tensor, rows: Rows) -> NDArray[np.float64]:
        """Return the cosine of every window of some rows (M,), float64 (M, W); -inf where there is no window.

        Every product is summed on its own, in one order: what is found does not depend on what else is asked for.

        Raises:
            UsageError: as `nearest`, but for k.
        """
        return self._cosines(self._unit(query), rows)

    def _unit(self, query: Tensor) -> NDArray[np.float32]:
        if query.shape != self.clips.shape[2:]:
            raise UsageError(f"the vectors have {self.clips.shape[2]} numbers, the query has {tuple(query.shape)}")
        if not bool(torch.isfinite(query).all()) or float(query.norm()) == 0:
            raise UsageError("the query's embedding is zero or not finite: the query says nothing to this model")
        unit: NDArray[np.float32] = normalize(query.double().cpu(), dim=0).float().numpy()
        return unit

    def _chosen(self, rows: NDArray[Any] | None) -> Rows | None:
        if rows is None:
            return None
        mask = rows.dtype == np.bool_
        if mask and rows.shape != (len(self),):
            raise UsageError(f"a filter of shape {rows.shape} for {len(self)} recordings")
        chosen: Rows = np.flatnonzero(rows) if mask else rows.astype(np.intp)
        if len(chosen) and not (chosen[0] >= 0 and chosen[-1] < len(self) and bool((np.diff(chosen) > 0).all())):
            raise UsageError(f"the rows of a filter are not ascending numbers from 0 to {len(self) - 1}")
        return chosen

    def _scan(self, unit: NDArray[np.float32], chosen: Rows | None) -> NDArray[np.float32]:
        """Return the best cosine of every recording, or of the chosen ones; -inf where there is none."""
        if chosen is not None and len(chosen) * _FEW > len(self):
            return self._scan(unit, None)[chosen]
        total, (windows, dim) = len(self) if chosen is None else len(chosen), self.clips.shape[1:]
        step = max(1, _BLOCK // (windows * dim * 4))
        best = np.empty(total, np.float32)
        for first in range(0, total, step):
            part = slice(first, min(first + step, total))
            block = part if chosen is None else chosen[part]
            with np.errstate(invalid="ignore", over="ignore"):
                similarity = _in_float32(self.clips[block]).reshape(-1, dim) @ unit
            similarity = similarity.reshape(-1, windows)
            best[part] = np.where(self.present[block] & np.isfinite(similarity), similarity, -np.inf).max(1)
        return best

    def _compare(self, unit: NDArray[np.float32], rows: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Return the best window and its cosine for some rows."""
        windows, values = np.empty(len(rows), np.intp), np.empty(len(rows))
        step = max(1, _BLOCK // (self.clips[0].size * 8)) if len(rows) else 1
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            cosine = self._cosines(unit, rows[part])
            windows[part], values[part] = cosine.argmax(1), cosine.max(1)
        return windows, values

    def _cosines(self, unit: NDArray[np.float32], rows: Rows) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            cosine = (self.clips[rows].astype(np.float64) * unit.astype(np.float64)).sum(2)
        known: NDArray[np.float64] = np.where(self.present[rows] & np.isfinite(cosine), cosine, -np.inf)
        return known


def nearest_of_others(queries: Mapping[int, Tensor], gallery: Gallery) -> NDArray[np.float32]:
    """Return the cosine of the nearest recording but itself for many at once, in float32, without order.

    Args:
        queries: row of the gallery -> float32 (D,), of length 1. Those that find nothing are left out.
    """
    near, vectors = [np.zeros(0, np.float32)], gallery.clips.reshape(-1, gallery.clips.shape[2])
    items = list(queries.items())
    for first in range(0, len(items), 32):
        part = items[first : first + 32]
        with np.errstate(invalid="ignore", over="ignore"):
            cosine = torch.stack([query for _, query in part]).numpy() @ vectors.T
        cosine = cosine.reshape(len(part), *gallery.present.shape)
        cosine[~(gallery.present & np.isfinite(cosine))] = -np.inf
        cosine[range(len(part)), [row for row, _ in part]] = -np.inf
        near.append(cosine.max((1, 2)))
    values = np.concatenate(near)
    return values[np.isfinite(values)]


def _in_float32(block: NDArray[Any]) -> NDArray[Any]:
    # torch converts float16 several times as fast as NumPy.
    return block if block.dtype == np.float32 else torch.from_numpy(np.ascontiguousarray(block)).float().numpy()
