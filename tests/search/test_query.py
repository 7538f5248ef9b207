"""Exact search: as sorting all cosines, whatever the block, and never anything that is not finite."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import NumberSource, SmallModel

from coview.data.stored import Stored
from coview.embedding.extract import extract
from coview.embedding.stored import store
from coview.errors import UsageError
from coview.search.query import search, stored_vector


def build(folder: Path, source: NumberSource, **more: object) -> Stored:
    return store(SmallModel(), source, folder, paths=[f"{i}.mp4" for i in source.ids], windows=2, **more)


def made_up(rows: int, windows: int, dim: int, seed: int = 0, copies: int = 0) -> Stored:
    """Unit vectors in memory, some windows absent, `copies` rows of them equal."""
    generator = np.random.default_rng(seed)
    clips = generator.standard_normal((rows, windows, dim)).astype(np.float32)
    clips[rows - copies :] = clips[:copies]
    clips /= np.linalg.norm(clips, axis=2, keepdims=True)
    present = generator.random((rows, windows)) < 0.8
    present[rows - copies :] = present[:copies]
    start = np.tile(np.arange(windows, dtype=np.float64), (rows, 1))
    names = [f"{row:05d}" for row in range(rows)]
    card = {"views": {"v": dim}, "normalised": True, "preprocessing": {"v": {"stream": "features", "dim": dim}}}
    return Stored(Path("memory"), card, {"v": clips}, {"v": present}, {"v": start}, names, names, [], "")


def test_search_equals_sorting_all_cosines(tmp_path: Path) -> None:
    source = NumberSource(60)
    stored = build(tmp_path / "e", source)
    clips = torch.nn.functional.normalize(
        extract(SmallModel(), source, windows=2, space="projected").clips["audio"], dim=2
    )
    for query in torch.randn(5, 8, generator=torch.Generator().manual_seed(3)):
        similarity = clips.double().numpy() @ (query / query.norm()).double().numpy()
        similarity[~source.has_audio.numpy()] = -np.inf
        best = similarity.max(1)
        expected = np.argsort(-best, kind="stable")[:7]
        hits = search(stored, "audio", query, k=7)
        assert [hit.row for hit in hits] == expected.tolist()
        assert [hit.similarity for hit in hits] == pytest.approx(best[expected].tolist(), abs=1e-6)
        assert [hit.start for hit in hits] == (2.0 * similarity[expected].argmax(1)).tolist()
        assert hits[0].id == source.ids[hits[0].row] and hits[0].path == f"{hits[0].id}.mp4"


@pytest.mark.parametrize("block", [40, 4000, 1 << 25])
def test_hits_and_order_do_not_depend_on_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = made_up(500, 3, 24, copies=120)  # with equals, whose order is that of the rows
    queries = torch.randn(8, 24, generator=torch.Generator().manual_seed(1))
    whole = [search(stored, "v", query, k=30) for query in queries]
    monkeypatch.setattr("coview.embedding.gallery._BLOCK", block)
    for query, expected in zip(queries, whole, strict=True):
        found = search(stored, "v", query, k=30)
        assert [(hit.row, hit.start) for hit in found] == [(hit.row, hit.start) for hit in expected]
        assert [h.similarity for h in found] == pytest.approx([h.similarity for h in expected], abs=1e-12)
        assert sorted(found, key=lambda hit: (-hit.similarity, hit.row)) == found


def test_one_two_and_all_of_it() -> None:
    stored = made_up(50, 2, 5)
    query = torch.ones(5)
    everything = search(stored, "v", query, k=1000)
    assert len(everything) == int(stored.present["v"].any(1).sum())
    for k in (1, 2, 17):
        assert search(stored, "v", query, k=k) == everything[:k]


def test_equal_similarities_keep_the_order_of_the_rows(tmp_path: Path) -> None:
    source = NumberSource(40)
    source.video[:] = 1.0
    stored = build(tmp_path / "e", source)
    assert [hit.row for hit in search(stored, "video", torch.ones(8), k=4)] == [0, 1, 2, 3]


def test_what_is_not_finite_is_never_found() -> None:
    stored = made_up(40, 2, 6)
    query = torch.randn(6, generator=torch.Generator().manual_seed(0))
    clips = stored.clips["v"].copy()
    expected = [hit for hit in search(stored, "v", query, k=40) if hit.row % 4]
    clips[::4] = np.nan
    clips[4, 0] = np.inf
    damaged = dataclasses.replace(stored, clips={"v": clips})
    assert search(damaged, "v", query, k=40) == expected
    assert search(dataclasses.replace(stored, clips={"v": np.full_like(clips, np.nan)}), "v", query) == []


def test_the_vector_of_a_recording(tmp_path: Path) -> None:
    stored = build(tmp_path / "e", NumberSource(20))
    assert torch.allclose(stored_vector(stored, "video", "r003"), torch.from_numpy(stored.clips["video"][3]).mean(0))
    with pytest.raises(UsageError, match="no recording 'r010' with audio"):
        stored_vector(stored, "audio", "r010")  # it has no sound


def test_wrong_queries_are_refused(tmp_path: Path) -> None:
    stored = build(tmp_path / "e", NumberSource(20))
    for query in (torch.zeros(8), torch.full((8,), torch.nan), torch.full((8,), torch.inf)):
        with pytest.raises(UsageError, match="says nothing"):
            search(stored, "video", query)
    with pytest.raises(UsageError, match="8 numbers"):
        search(stored, "video", torch.ones(9))
    with pytest.raises(UsageError, match="at least 1"):
        search(stored, "video", torch.ones(8), k=0)
    with pytest.raises(UsageError, match="no embeddings of 'image'"):
        search(stored, "image", torch.ones(8))
    with pytest.raises(UsageError, match="not of length 1"):
        search(build(tmp_path / "raw", NumberSource(20), normalised=False), "video", torch.ones(8))
