import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from measuring import NumberSource, SmallModel

from coview.embedding import stored as stores
from coview.embedding.extract import extract
from coview.embedding.stored import Store, build_store
from coview.errors import UsageError
from coview.search.query import search


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PART", 16)


def build(folder: Path, model: SmallModel, source: NumberSource, **more: object) -> Store:
    store = build_store(model, source, folder, paths=[f"{i}.mp4" for i in source.ids], windows=2, **more)
    assert store is not None
    return store


def test_vectors_are_those_of_the_model_with_id_path_and_seconds(tmp_path: Path) -> None:
    model, source = SmallModel(), NumberSource(40)
    store = build(tmp_path / "e", model, source)
    clips = extract(model, source, windows=2, space="projected").clips
    vectors = np.concatenate([part.vectors for part in store.parts("video")])
    expected = torch.nn.functional.normalize(clips["video"].flatten(0, 1), dim=1)
    assert np.allclose(vectors, expected.numpy(), atol=1e-6)
    lines = [line for part in store.parts("audio") for line in part.table.to_pylist()]
    assert len(lines) == 2 * int(source.has_audio.sum())
    assert lines[3]["id"] == "r001"
    assert lines[3]["path"] == "r001.mp4"
    assert (lines[3]["start"], lines[3]["end"]) == (2.0, 4.0)  # the second window, two seconds of sound
    assert store.card["views"] == {"audio": 8, "video": 8}
    assert not list((tmp_path / "e").glob(".*"))


def test_a_stopped_embedding_goes_on_and_a_complete_one_is_not_made_again(tmp_path: Path) -> None:
    model, source = SmallModel(), NumberSource(40)
    store = build(tmp_path / "e", model, source)
    whole = {file.name: file.read_bytes() for file in (tmp_path / "e").iterdir()}
    (tmp_path / "e" / "00001.parquet").unlink()  # as after a stop between the vectors and the table
    with pytest.raises(UsageError, match="1 of 3 parts are missing"):
        Store(tmp_path / "e")
    untouched = (tmp_path / "e" / "00000.video.npy").stat().st_mtime_ns
    build(tmp_path / "e", model, source)
    assert {file.name: file.read_bytes() for file in (tmp_path / "e").iterdir()} == whole
    assert (tmp_path / "e" / "00000.video.npy").stat().st_mtime_ns == untouched
    assert store.views == ["audio", "video"]


def test_another_model_collection_or_folder_is_refused(tmp_path: Path) -> None:
    model, source = SmallModel(), NumberSource(40)
    store = build(tmp_path / "e", model, source)
    store.check_model(model)
    with pytest.raises(UsageError, match="embeddings of another model"):
        store.check_model(SmallModel(seed=1))
    with pytest.raises(UsageError, match="made in another way"):
        build(tmp_path / "e", SmallModel(seed=1), source)
    with pytest.raises(UsageError, match="space: projected -> backbone"):
        build(tmp_path / "e", model, source, space="backbone")
    with pytest.raises(UsageError, match="holds no embeddings"):
        Store(tmp_path)
    with pytest.raises(UsageError, match="not empty"):
        build(tmp_path, model, source)


def test_a_card_of_a_later_format_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "e", SmallModel(), NumberSource(20))
    card = json.loads((tmp_path / "e" / "card.json").read_text())
    (tmp_path / "e" / "card.json").write_text(json.dumps({**card, "format": 2}))
    with pytest.raises(UsageError, match="format 2"):
        Store(tmp_path / "e")


def test_search_equals_sorting_all_cosines(tmp_path: Path) -> None:
    model, source = SmallModel(), NumberSource(60)
    store = build(tmp_path / "e", model, source)
    clips = torch.nn.functional.normalize(extract(model, source, windows=2, space="projected").clips["audio"], dim=2)
    generator = torch.Generator().manual_seed(3)
    for query in torch.randn(5, 8, generator=generator):
        similarity = clips.double().numpy() @ (query / query.norm()).double().numpy()
        similarity[~source.has_audio.numpy()] = -np.inf
        best = similarity.max(1)
        expected = np.argsort(-best, kind="stable")[:7]
        hits = search(store, "audio", query, k=7)
        assert [hit.row for hit in hits] == expected.tolist()
        assert [hit.similarity for hit in hits] == pytest.approx(best[expected].tolist(), abs=1e-6)
        assert [hit.start for hit in hits] == (2.0 * similarity[expected].argmax(1)).tolist()
        assert hits[0].id == source.ids[hits[0].row]


def test_search_in_blocks_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build(tmp_path / "e", SmallModel(), NumberSource(60))
    query = torch.arange(8.0)
    whole = search(store, "video", query, k=10)
    monkeypatch.setattr("coview.search.query._BLOCK", 5)
    assert search(store, "video", query, k=10) == whole
    assert len(search(store, "video", query, k=1000)) == 60


def test_equal_similarities_keep_the_order_of_the_store(tmp_path: Path) -> None:
    source = NumberSource(40)
    source.video[:] = 1.0
    store = build(tmp_path / "e", SmallModel(), source)
    assert [hit.row for hit in search(store, "video", torch.ones(8), k=4)] == [0, 1, 2, 3]


def test_wrong_queries_are_refused(tmp_path: Path) -> None:
    store = build(tmp_path / "e", SmallModel(), NumberSource(20))
    with pytest.raises(UsageError, match="8 numbers"):
        search(store, "video", torch.ones(9))
    with pytest.raises(UsageError, match="says nothing"):
        search(store, "video", torch.zeros(8))
    with pytest.raises(UsageError, match="at least 1"):
        search(store, "video", torch.ones(8), k=0)
    with pytest.raises(UsageError, match="no embeddings of 'image'"):
        search(store, "image", torch.ones(8))


def _build_here(folder: str) -> bool:
    stores.PART = 16
    source = NumberSource(40)
    return build_store(SmallModel(), source, Path(folder), paths=source.ids, windows=2) is not None


@pytest.mark.slow
def test_two_processes_share_the_parts(tmp_path: Path) -> None:
    assert worlds.run(2, _build_here, str(tmp_path / "two")) == [True, False]
    source = NumberSource(40)
    build_store(SmallModel(), source, tmp_path / "one", paths=source.ids, windows=2)
    for file in sorted((tmp_path / "one").glob("*.npy")):
        assert np.allclose(np.load(file), np.load(tmp_path / "two" / file.name), atol=1e-6)
    shutil.rmtree(tmp_path / "two")
