"""The gallery: as sorting all cosines in float64, under any filter, in either precision, whole or in parts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from coview.data.stored import Stored
from coview.embedding.gallery import Gallery
from coview.errors import UsageError
from coview.search.query import Hit, search


def made(rows: int, windows: int, dim: int, seed: int, kind: str = "float32") -> tuple[NDArray, NDArray]:
    """Unit vectors, every fifth one a copy of the row before it, and which of them are there."""
    generator = np.random.default_rng(seed)
    clips = generator.standard_normal((rows, windows, dim))
    clips[1::5] = clips[::5][: len(clips[1::5])]
    clips /= np.linalg.norm(clips, axis=2, keepdims=True)
    return clips.astype(kind), generator.random((rows, windows)) < 0.8


def sorted_rows(clips: NDArray, present: NDArray, query: torch.Tensor, rows: NDArray) -> NDArray:
    """Return the rows of a mask, ordered by their best cosine in float64, equal ones as they stand."""
    unit = torch.nn.functional.normalize(query.double(), dim=0).float().double().numpy()
    best = np.where(present, (clips.astype(np.float64) * unit).sum(2), -np.inf).max(1)
    order = np.argsort(-best, kind="stable")
    return order[rows[order] & np.isfinite(best[order])]


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("seed", range(12))
def test_as_sorting_all_cosines_under_any_filter(seed: int, kind: str) -> None:
    sizes = np.random.default_rng(1000 + seed)
    rows, windows, dim, k = (int(sizes.integers(*ends)) for ends in ((1, 120), (1, 5), (2, 20), (1, 40)))
    share = (0.0, 0.05, 0.5, 1.0)[seed % 4]
    clips, present = made(rows, windows, dim, seed, kind)
    gallery, query = Gallery(clips, present), torch.randn(dim, generator=torch.Generator().manual_seed(seed))
    mask = np.random.default_rng(seed).random(rows) < share
    for chosen in (mask, np.flatnonzero(mask).astype(np.int32)):
        found = gallery.nearest(query, k, chosen)
        assert found.rows.tolist() == sorted_rows(clips, present, query, mask)[:k].tolist()
        assert present[found.rows, found.windows].all()
    everywhere = gallery.nearest(query, k).rows.tolist()
    assert everywhere == sorted_rows(clips, present, query, np.ones(rows, bool))[:k].tolist()


def test_scores_are_the_cosine_of_the_best_window() -> None:
    clips, present = made(40, 3, 8, 0)
    present[7] = False
    scores = Gallery(clips, present).scores(torch.ones(8))
    expected = np.where(present, clips @ np.full(8, 8**-0.5, np.float32), -np.inf).max(1)
    assert scores == pytest.approx(expected, abs=1e-6) and scores[7] == -np.inf
    rows = np.array([3, 7, 11])
    assert Gallery(clips, present).scores(torch.ones(8), rows) == pytest.approx(expected[rows], abs=1e-6)


def test_a_filter_that_names_no_rows_of_the_gallery_is_refused() -> None:
    gallery = Gallery(*made(10, 1, 4, 0))
    for rows in (np.array([3, 2]), np.array([-1]), np.array([10]), np.array([1, 1]), np.ones(9, bool)):
        with pytest.raises(UsageError, match="filter"):
            gallery.nearest(torch.ones(4), 1, rows)


def test_parts_of_a_store_searched_each_for_itself_merge_to_the_same_hits() -> None:
    """What docs/performance.md says of search on several machines."""
    clips, present = made(500, 3, 16, 1)
    start = np.tile(np.arange(3.0), (500, 1))
    names = [f"{row:03d}" for row in range(500)]
    card = {"views": {"v": 16}, "normalised": True, "preprocessing": {"v": {"stream": "features", "dim": 16}}}

    def part(first: int, last: int) -> Stored:
        rows = slice(first, last)
        arrays = ({"v": array[rows]} for array in (clips, present, start))
        return Stored(Path("memory"), card, *arrays, names[rows], names[rows], [], "")

    for query in torch.randn(5, 16, generator=torch.Generator().manual_seed(2)):
        whole = search(part(0, 500), "v", query, k=20)
        found: list[tuple[float, int, Hit]] = []
        for first, last in ((0, 3), (3, 200), (200, 201), (201, 500)):  # by ranges of rows, some below k
            hits = search(part(first, last), "v", query, k=20)
            found += [(-hit.similarity, first + hit.row, hit) for hit in hits]
        merged = sorted(found, key=lambda each: each[:2])[:20]
        assert [(row, hit.id, hit.start, hit.similarity) for _, row, hit in merged] == [
            (hit.row, hit.id, hit.start, hit.similarity) for hit in whole
        ]
