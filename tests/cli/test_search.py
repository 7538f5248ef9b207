import json
from pathlib import Path

import numpy as np
import pytest
import torch
from measured import collection, tiny_model
from PIL import Image

from coview.cli.main import main
from coview.data.collection import Collection
from coview.media.encode import write_clip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save(folder)
    return folder


def search(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> dict[str, object]:
    assert main(["search", "--collection", str(collection()), *arguments, "--device", "cpu", "--json"]) == code
    said = capsys.readouterr()
    return json.loads(said.out) if said.out else {"error": said.err}


def test_a_recording_of_the_collection_finds_itself(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Collection.open(collection())
    file = opened.path(opened[4])
    arguments = ["--model", str(model), "--query", str(file), "--from", "audio", "--to", "audio", "-k", "3"]
    arguments += ["--windows", "1"]  # else the query is the mean of its windows, and near to each of them only
    result = search(capsys, 0, *arguments)
    first = result["hits"][0]
    assert (first["id"], first["path"]) == (opened[4].id, str(file))
    assert first["similarity"] == pytest.approx(1, abs=1e-4)
    assert 0 <= first["start"] < first["end"] <= opened[4].end + 0.5
    assert len(result["hits"]) == 3
    assert list((model / "embeddings").iterdir())  # kept, so that the next search is quick
    assert search(capsys, 0, *arguments) == result


def test_a_sound_that_the_index_never_saw(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waveform = 0.3 * torch.sin(torch.arange(24000) / 16000 * 2 * torch.pi * 440)
    write_clip(tmp_path / "tone.m4a.mp4", None, None, waveform, 16000)
    result = search(capsys, 0, "--model", str(model), "--query", str(tmp_path / "tone.m4a.mp4"))
    assert (result["from"], result["to"]) == ("audio", "video")
    assert len(result["hits"]) == 5
    similarities = [hit["similarity"] for hit in result["hits"]]
    assert similarities == sorted(similarities, reverse=True)


def test_embeddings_of_another_model_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model(1).save(tmp_path / "other")
    made = tmp_path / "e"
    assert main(["embed", "--model", str(model), "--collection", str(collection()), "-o", str(made), "--json"]) == 0
    capsys.readouterr()
    opened = Collection.open(collection())
    query = ["--query", str(opened.path(opened[0])), "--embeddings", str(made)]
    assert "another model" in search(capsys, 2, "--model", str(tmp_path / "other"), *query)["error"]
    assert search(capsys, 0, "--model", str(model), *query)["recordings"] == 30


def test_wrong_use(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = search(capsys, 1, "--model", str(model), "--query", str(tmp_path / "none.wav"))
    assert "none.wav" in missing["error"]
    assert "at least 1" in search(capsys, 2, "--model", str(model), "--query", "x.wav", "-k", "0")["error"]


def test_only_among_recordings_that_are_so(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = Collection.open(collection())
    labels = dict(zip(opened.ids, opened.column("label"), strict=True))
    one, other = sorted(set(labels.values()))[:2]
    asked = ["--model", str(model), "--recording", opened.ids[0], "--from", "audio", "--to", "audio", "-k", "30"]
    everything = [hit["id"] for hit in search(capsys, 0, *asked)["hits"]]
    found = search(
        capsys, 0, *asked, "--where", f"label={one}", "--where", f"label={other}", "--where", "duration=0..9"
    )
    # The same hits in the same order as without: nothing that fulfils the conditions is lost, nothing else is there.
    assert [hit["id"] for hit in found["hits"]] == [name for name in everything if labels[name] in (one, other)]
    assert found["recordings"] == sum(label in (one, other) for label in labels.values())
    assert f"did you mean label={one}?" in search(capsys, 2, *asked, "--where", f"label={one}x")["error"]
    assert "no condition" in search(capsys, 2, *asked, "--where", "size=3")["error"]


def test_a_photograph_is_a_film_that_stands_still_and_the_hits_are_a_page(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).save(tmp_path / "photo.png")
    page = tmp_path / "pages" / "hits.html"
    asked = ["--model", str(model), "--query", str(tmp_path / "photo.png"), "--to", "video", "--html", str(page)]
    result = search(capsys, 0, *asked)
    assert (result["from"], len(result["hits"]), result["page"]) == ("video", 5, str(page))
    text = page.read_text()
    for hit in result["hits"]:
        assert f'title="{hit["id"]}"' in text and f"{hit['similarity']:.3f}" in text
    assert "http" not in text and "data:video/mp4" in text
    assert "is a folder" in search(capsys, 2, *asked[:-1], str(tmp_path))["error"]
