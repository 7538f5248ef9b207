"""Stored features: whole, gone on with, repaired, shared by processes, and refused where they say something else."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import worlds
from measuring import NumberSource, SmallModel

from coview.data.feature_files import read_features
from coview.data.stored import Stored, open_stored
from coview.embedding import parts
from coview.embedding import stored as writing
from coview.embedding.extract import NOT_FINITE, extract
from coview.embedding.stored import check_model, features_of, store
from coview.errors import CoviewError, UsageError
from coview.files import locked
from coview.search.query import search


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PARTS", 4)


def build(folder: Path, model: SmallModel | None = None, source: NumberSource | None = None, **more: object) -> Stored:
    source = source or NumberSource(40)
    more = {"windows": 2, "batch_size": 8, "paths": [f"{i}.mp4" for i in source.ids], **more}
    return store(model or SmallModel(), source, folder, **more)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_vectors_are_those_of_the_model_with_id_path_and_seconds(tmp_path: Path) -> None:
    model, source = SmallModel(), NumberSource(40)
    stored = build(tmp_path / "e", model, source)
    features = extract(model, source, windows=2, space="projected")
    expected = torch.nn.functional.normalize(features.clips["video"], dim=2)
    assert np.allclose(stored.clips["video"], expected.numpy(), atol=1e-6)
    assert np.array_equal(stored.present["audio"], features.clip_present["audio"].numpy())
    assert not stored.clips["audio"][10].any()  # it has no sound
    assert (stored.ids, stored.paths[1]) == (source.ids, "r001.mp4")
    assert stored.start["audio"][1].tolist() == [0.0, 2.0]
    assert stored.card["views"] == {"audio": 8, "video": 8} and stored.views == ["audio", "video"]
    assert len(list((tmp_path / "e" / "done").iterdir())) == 3  # 16, 16 and 8 recordings
    assert not [path for path in (tmp_path / "e").iterdir() if path.name.startswith(".")]


def test_without_normalising_the_features_are_those_of_memory(tmp_path: Path) -> None:
    model, source = SmallModel(), NumberSource(40)
    found = features_of(build(tmp_path / "e", model, source, normalised=False, space="backbone"), source)
    expected = extract(model, source, windows=2, batch_size=8)
    for name in ("clips", "clip_present", "start", "values", "present"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert list(mine) == list(theirs)
        assert all(torch.equal(mine[view], theirs[view]) and mine[view].dtype == theirs[view].dtype for view in theirs)
    assert (found.ids, found.classes, found.problems) == (expected.ids, expected.classes, [])
    half = build(tmp_path / "half", model, source, normalised=False, space="backbone", precision="float16")
    assert half.clips["video"].dtype == np.float16
    assert np.allclose(half.clips["video"], expected.clips["video"], rtol=1e-2, atol=1e-2)


def test_a_stopped_embedding_goes_on_and_a_complete_one_is_not_made_again(tmp_path: Path) -> None:
    build(tmp_path / "e")
    whole = contents(tmp_path / "e")
    (tmp_path / "e" / "done" / "00001.json").unlink()
    with pytest.raises(UsageError, match="1 of 3 parts are missing"):
        open_stored(tmp_path / "e")
    untouched = (tmp_path / "e" / "done" / "00000.json").stat().st_mtime_ns
    build(tmp_path / "e")
    assert contents(tmp_path / "e") == whole
    assert (tmp_path / "e" / "done" / "00000.json").stat().st_mtime_ns == untouched
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "e").rglob("*")}
    build(tmp_path / "e")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "e").rglob("*")} == before


def test_a_kill_right_after_the_card(tmp_path: Path) -> None:
    build(tmp_path / "e")
    whole = contents(tmp_path / "e")
    for path in list((tmp_path / "e").rglob("*")):
        if path.is_file() and path.name != "card.json":
            path.unlink()
    build(tmp_path / "e")
    assert contents(tmp_path / "e") == whole


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    build(tmp_path / "e")
    (tmp_path / "e" / "done" / "00001.json").unlink()
    for place in ("", "done"):
        (tmp_path / "e" / place / ".00001.json.77-ab12cd34.partial").write_text("half")
    build(tmp_path / "e")
    assert not list((tmp_path / "e").rglob("*.partial"))


@pytest.mark.parametrize("name", ["video.npy", "audio.present.npy", "video.start.npy", "recordings.parquet"])
def test_changed_bytes_are_seen_and_a_rerun_repairs_them(tmp_path: Path, name: str) -> None:
    build(tmp_path / "e")
    whole = contents(tmp_path / "e")
    for damage in (lambda b: b[:-3] + bytes([b[-3] ^ 1]) + b[-2:], lambda b: b[:-1], lambda b: b[:20], lambda b: b""):
        (tmp_path / "e" / name).write_bytes(damage(whole[name]))
        if name != "recordings.parquet" or damage(whole[name]) != whole[name][:-3] + whole[name][-3:]:
            with pytest.raises(UsageError, match=r"changed since|cannot be read as"):
                open_stored(tmp_path / "e")
        build(tmp_path / "e")
        assert contents(tmp_path / "e") == whole


def test_what_cannot_be_read_is_listed_and_tried_again(tmp_path: Path) -> None:
    source = NumberSource(40)
    source.unreadable = {3: "truncated", 21: "missing"}
    stored = build(tmp_path / "e", source=source)
    assert stored.problems == [("r003", "truncated"), ("r021", "missing")]
    assert not stored.present["video"][[3, 21]].any() and stored.present["video"][4].all()
    source.unreadable = {21: "missing"}
    assert build(tmp_path / "e", source=source).problems == [("r021", "missing")]
    source.unreadable = {}
    assert build(tmp_path / "e", source=source).problems == []
    build(tmp_path / "clean")
    mine, clean = open_stored(tmp_path / "e"), open_stored(tmp_path / "clean")
    assert all(np.allclose(mine.clips[v], clean.clips[v], atol=1e-6) for v in clean.views)
    assert all(np.array_equal(mine.present[v], clean.present[v]) for v in clean.views)


def test_what_is_not_finite_is_never_stored(tmp_path: Path) -> None:
    source = NumberSource(40)
    source.video[5, 1], source.audio[7] = torch.nan, torch.inf
    stored = build(tmp_path / "e", source=source)
    assert stored.problems == [("r005", NOT_FINITE), ("r007", NOT_FINITE)]
    assert all(np.isfinite(clips).all() for clips in stored.clips.values())
    assert stored.present["video"][5].tolist() == [True, False] and not stored.present["audio"][7].any()
    source.video[:], source.audio[:] = torch.nan, torch.nan
    with pytest.raises(CoviewError, match="NaN or infinity of all 40 recordings"):
        build(tmp_path / "none", source=source)


def test_another_model_collection_way_or_folder_is_refused(tmp_path: Path) -> None:
    model = SmallModel()
    stored = build(tmp_path / "e", model)
    check_model(stored, model)
    with pytest.raises(UsageError, match="embeddings of another model"):
        check_model(stored, SmallModel(seed=1))
    with pytest.raises(UsageError, match="made in another way"):
        build(tmp_path / "e", SmallModel(seed=1))
    with pytest.raises(UsageError, match="space: projected -> backbone"):
        build(tmp_path / "e", space="backbone")
    with pytest.raises(UsageError, match="holds no embeddings"):
        open_stored(tmp_path)
    with pytest.raises(UsageError, match="not empty"):
        build(tmp_path)


def test_two_at_once(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    with locked(tmp_path / "e", "embed"), pytest.raises(UsageError, match=r"another process works on it .*embed"):
        build(tmp_path / "e")
    build(tmp_path / "e")


def test_a_full_disk_is_one_sentence_and_a_rerun_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = parts._write, []

    def full(path: Path, rows: torch.Tensor, values: np.ndarray) -> None:
        written.append(path)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, rows, values)

    monkeypatch.setattr(parts, "_write", full)
    with pytest.raises(CoviewError, match=r"No space left on device\); make room .* it goes on from there"):
        build(tmp_path / "e")
    monkeypatch.setattr(parts, "_write", write)
    first = (tmp_path / "e" / "done" / "00000.json").stat().st_mtime_ns
    build(tmp_path / "e")
    assert (tmp_path / "e" / "done" / "00000.json").stat().st_mtime_ns == first
    build(tmp_path / "whole")
    assert contents(tmp_path / "e") == contents(tmp_path / "whole")


def test_a_store_of_features_is_a_source(tmp_path: Path) -> None:
    stored = build(tmp_path / "e")
    tables = {table.name: table for table in read_features(tmp_path / "e")}
    assert tables["video"].ids == stored.ids and len(tables["audio"].ids) == 37
    assert torch.allclose(tables["video"].values[3], torch.from_numpy(stored.clips["video"][3]).mean(0), atol=1e-6)


def test_stores_of_format_1_are_read(tmp_path: Path) -> None:
    stored, folder = build(tmp_path / "e"), tmp_path / "old"
    folder.mkdir()
    lines: dict[str, list[object]] = {key: [] for key in ("view", "row", "id", "path", "start", "end")}
    for view in stored.views:
        row, window = np.nonzero(stored.present[view])
        np.save(folder / f"00000.{view}.npy", stored.clips[view][row, window])
        for r, w in zip(row.tolist(), window.tolist(), strict=True):
            for key, value in zip(lines, (view, r, stored.ids[r], stored.paths[r], 2.0 * w, 2.0 * w + 2), strict=True):
                lines[key].append(value)
    pq.write_table(pa.table(lines), folder / "00000.parquet")
    card = {name: value for name, value in stored.card.items() if name not in ("part", "precision")}
    (folder / "card.json").write_text(json.dumps({**card, "format": 1}))
    old = open_stored(folder)
    query = torch.arange(8.0)
    assert search(old, "audio", query, 9) == search(stored, "audio", query, 9)
    assert {t.name: len(t.ids) for t in read_features(folder)} == {"video": 40, "audio": 37}
    with pytest.raises(UsageError, match="older version"):
        build(folder)


def _build_here(folder: str) -> list[list[float]]:
    writing._PARTS = 4
    return torch.from_numpy(build(Path(folder)).clips["video"][:, 0].copy()).tolist()


@pytest.mark.slow
def test_processes_share_the_parts(tmp_path: Path) -> None:
    one = _build_here(str(tmp_path / "one"))
    for world in (2, 4):
        for found in worlds.run(world, _build_here, str(tmp_path / f"w{world}")):
            assert np.allclose(found, one, atol=1e-6)
    shutil.rmtree(tmp_path / "w2")
