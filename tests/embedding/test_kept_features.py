"""Features that are kept: computed once, under a name that changes with all they depend on; on disk where asked."""

import shutil
from pathlib import Path

import pytest
import torch
import worlds
from measured import tiny_model

from coview import parallel
from coview.data.augment import PRESETS
from coview.data.memmap import MemmapSource, fill
from coview.data.preprocess import Preprocess
from coview.data.synthetic import parse_world
from coview.data.synthetic.digits import DigitsWorld
from coview.embedding import kept, stored
from coview.embedding.extract import Features, extract
from coview.embedding.kept import extract_once, extract_to_disk
from coview.evaluation.bench import Bench
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.xdc import XDCSettings
from coview.model import Model
from coview.objectives.kmeans import kmeans

ROWS = 50


def test_features_are_computed_once_for_all_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = tiny_model(), tiny_model(1)
    parts = [DigitsWorld("A", split, 12, 0, model.views) for split in ("train", "test")]

    def bench(of: object = model, test: object = parts[1], batch_size: int = 8) -> Bench:
        return Bench(of, parts[0], test, name="x", folder=tmp_path, batch_size=batch_size)  # type: ignore[arg-type]

    first = bench().features("test")
    monkeypatch.setattr(stored, "extract_locally", lambda *given, **more: pytest.fail("computed twice"))
    again, plain = bench().features("test"), extract(model, parts[1], batch_size=8)
    for found in (first, again):
        assert (found.ids, found.classes) == (plain.ids, plain.classes)
        for name in ("clips", "clip_present", "start"):
            mine, theirs = getattr(found, name), getattr(plain, name)
            assert all(
                torch.equal(mine[view], theirs[view]) and mine[view].dtype == theirs[view].dtype for view in theirs
            )
        assert torch.equal(found.labels, plain.labels)
    longer = DigitsWorld("A", "test", 13, 0, model.views)
    for changed in (bench(other), bench(test=longer), bench(batch_size=4)):
        with pytest.raises(pytest.fail.Exception, match="computed twice"):
            changed.features("test")
    with pytest.raises(pytest.fail.Exception, match="computed twice"):
        bench().features("test", "projected")


def test_another_fingerprint_means_other_features(tmp_path: Path) -> None:
    model = tiny_model()
    source = DigitsWorld("A", "test", 8, 0, model.views)
    how = {"windows": 1, "space": "backbone", "batch_size": 4, "progress": lambda done, total: None}
    for fingerprint in (source.fingerprint, "captions changed", "captions changed"):
        source.fingerprint = fingerprint
        extract_once(tmp_path, model, source, **how)  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 2


def test_media_that_changed_in_place_are_embedded_again(tmp_path: Path) -> None:
    views = tiny_model().views
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder, seed in zip(folders, (0, 1), strict=True):
        fill(DigitsWorld("A", "test", 3, seed, views), folder)
    before = kept.content(MemmapSource(folders[0]), 1)
    assert before == kept.content(MemmapSource(folders[0]), 1)
    for view in views:
        shutil.copy(folders[1] / f"{view}.npy", folders[0] / f"{view}.npy")
    assert before != kept.content(MemmapSource(folders[0]), 1)


def _once(folder: str) -> torch.Tensor:
    model = tiny_model()
    source = DigitsWorld("A", "test", 20, 0, model.views)
    how = {"windows": 1, "space": "backbone", "batch_size": 4, "progress": lambda done, total: None}
    return extract_once(Path(folder), model, source, **how).values["video"].clone()  # type: ignore[arg-type]


def _once_in_a_folder_of_its_own(folder: str) -> torch.Tensor:
    return _once(f"{folder}/rank{parallel.rank()}")


@pytest.mark.slow
@pytest.mark.parametrize("work", [_once, _once_in_a_folder_of_its_own])
def test_processes_with_one_folder_share_it_and_without_one_keep_nothing(tmp_path: Path, work) -> None:
    alone = _once(str(tmp_path / "alone"))
    for found in worlds.run(2, work, str(tmp_path / "two")):
        torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)
    assert bool(list((tmp_path / "two").rglob("card.json"))) == (work is _once)


def parts() -> tuple[Model, object]:
    torch.manual_seed(0)
    method = build("xdc", XDCSettings.tiny(), Facts(rows=ROWS))
    source = parse_world("digits-av:A", "train", seed=0, views=method.views, count=ROWS)
    return Model(method, Preprocess(method.views, PRESETS["none"]), {}), source


def on_disk(folder: Path | str, precision: str = "float32") -> Features:
    model, source = parts()
    return extract_to_disk(Path(folder), model, source, precision=precision, batch_size=8)  # type: ignore[arg-type]


def on_disk_here(folder: str) -> dict[str, torch.Tensor]:
    return {view: value.clone() for view, value in on_disk(folder).values.items()}


def test_the_files_hold_what_memory_would(tmp_path: Path) -> None:
    model, source = parts()
    expected = extract(model, source, space="backbone")  # type: ignore[arg-type]
    found = on_disk(tmp_path / "bank")
    assert found.present["audio"].all()
    for view, values in found.values.items():
        torch.testing.assert_close(values, expected.values[view], rtol=1e-5, atol=1e-5)
        assert values.data_ptr() == found.clips[view].data_ptr()  # no copy: they lie in the files
    half = on_disk(tmp_path / "half", "float16").values
    assert half["video"].dtype == torch.float16
    torch.testing.assert_close(half["video"].float(), expected.values["video"], rtol=1e-2, atol=1e-2)


def test_clusters_of_the_files(tmp_path: Path) -> None:
    found = on_disk(tmp_path / "bank").values
    memory = [found[view].clone() for view in ("video", "audio")]
    expected = kmeans(memory, 5, seed=0, unit=True)
    assert torch.equal(kmeans([found["video"], found["audio"]], 5, seed=0, unit=True).labels, expected.labels)


@pytest.mark.parametrize("world", [2, 4])
def test_every_process_writes_its_own_rows(tmp_path: Path, world: int) -> None:
    expected = on_disk_here(str(tmp_path / "alone"))
    for found in worlds.run(world, on_disk_here, str(tmp_path / "shared")):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
