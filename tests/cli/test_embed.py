import json
from pathlib import Path

import numpy as np
import pytest
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
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "e").iterdir() if file.name != "card.json"}
    assert embed(capsys, 0, *arguments) == result
    assert {name: (tmp_path / "e" / name).stat().st_mtime_ns for name in before} == before
    vectors = np.load(tmp_path / "e" / "00000.video.npy")
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


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
