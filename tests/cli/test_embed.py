import json
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from measured import collection, tiny_model

from coview.cli.main import main
from coview.data.collection import Collection


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save(folder)
    return str(folder)


def embed(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict[str, object]:
    assert main(["embed", *arguments, "--device", "cpu", "--json"]) == code
    said = capsys.readouterr().out
    return json.loads(said) if said else {}


def test_a_collection_twice(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", model, "--collection", str(collection()), "-o", str(tmp_path / "e")]
    result = embed(capsys, 0, *arguments)
    assert result["recordings"] == 30
    assert result["vectors"]["audio"] >= 30
    assert (result["embedded"], result["refused"], result["problems"]) == (30, [], [])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "e").rglob("*")}
    assert embed(capsys, 0, *arguments) == result
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "e").rglob("*")} == before
    vectors, present = (np.load(tmp_path / "e" / f"video{end}.npy") for end in ("", ".present"))
    assert np.allclose(np.linalg.norm(vectors[present], axis=1), 1, atol=1e-6)


def test_files_that_went_after_indexing_are_refused_and_a_rerun_repairs_them(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(collection(), tmp_path / "c")
    opened = Collection.open(copy)
    paths = [opened.path(recording) for recording in opened]
    for path in paths[:10]:
        path.rename(path.with_suffix(".gone"))
    arguments = ["--model", model, "--collection", str(copy), "-o", str(tmp_path / "e")]
    result = embed(capsys, 3, *arguments)
    assert (result["recordings"], result["embedded"], len(result["refused"])) == (30, 20, 10)
    assert [problem["recording"] for problem in result["problems"]] == opened.ids[:10]
    for path in paths[:10]:
        path.with_suffix(".gone").rename(path)
    result = embed(capsys, 0, *arguments)
    assert (result["embedded"], result["refused"]) == (30, [])


def test_files_and_one_that_is_none(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Collection.open(collection())
    good, bad = opened.path(opened[0]), tmp_path / "bad.mp4"
    bad.write_bytes(b"this is not a film")
    result = embed(capsys, 3, "--model", model, str(good), str(bad), "-o", str(tmp_path / "e"))
    assert result["recordings"] == 1
    assert len(result["refused"]) == 1
    assert "bad.mp4" in result["refused"][0]


def test_wrong_use(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed(capsys, 2, "--model", model, "-o", str(tmp_path / "e"))


def test_a_name_that_begins_like_an_option_can_be_asked_for(tmp_path, monkeypatch, capsys):
    tiny_model().save(tmp_path / "model")
    there = {"video": np.ones((1, 1), bool)}
    made = SimpleNamespace(problems=[], folder="e", ids=["-a b.mp4"], views=["video"], present=there)
    monkeypatch.setattr("coview.cli.embed.embed", lambda *asked: made)
    assert main(["embed", "--model", str(tmp_path / "model"), "--collection", str(collection()), "-o", "e"]) == 0
    words = shlex.split(capsys.readouterr().err.partition("Next: coview ")[2])
    assert words[-1] == "--recording=-a b.mp4"


@pytest.mark.slow  # five seconds: 30 pictures of 224 pixels
def test_a_trained_encoder_needs_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights, out = tmp_path / "squeezenet.pth", str(tmp_path / "features")
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    where = ("--collection", str(collection()))
    arguments = ["--encoder", "torchvision:squeezenet1_1", "--weights", str(weights), *where, "-o", out]
    result = embed(capsys, 0, *arguments, "--windows", "1")
    assert (result["embedded"], result["vectors"]) == (30, {"image": 30})
    assert embed(capsys, 0, *arguments, "--windows", "1") == result
    first = Collection.open(collection()).ids[0]
    asked = ["--model", out, *where, "--embeddings", out, "--recording", first, "--json"]
    assert main(["search", *asked]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["id"] == first
    assert main(["evaluate", "knn", "--model", out, *where, "--json"]) in (0, 3)
    assert any("image" in row["name"] for row in json.loads(capsys.readouterr().out)["results"])
