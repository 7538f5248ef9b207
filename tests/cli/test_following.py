"""What a step names behind "Next:" works as it stands: here the command is given to the command line again."""

import shlex
import wave
from pathlib import Path

import pytest
import torch
from measured import tiny_model

from coview.cli.following import collection_here, free
from coview.cli.main import main
from coview.media.encode import write_clip


def following(words, capsys):
    """Run a command, and return the words after `coview` that it says come next."""
    code = main([str(word) for word in words])
    said = capsys.readouterr().err
    assert code == 0, said
    return shlex.split(next(line for line in said.splitlines() if line.startswith("Next: ")))[2:]


@pytest.fixture
def collection(tmp_path, monkeypatch, capsys):
    """Five films, indexed; the current folder is the one where they lie."""
    monkeypatch.chdir(tmp_path)
    frames, tone = torch.randint(0, 255, (3, 32, 32, 32), dtype=torch.uint8), torch.sin(torch.arange(32000) / 9)
    for number in range(5):
        write_clip(tmp_path / f"{number}.mp4", frames.roll(number, 1), 16, tone.roll(number), 16000)
    assert following(["index", ".", "-o", "films", "--workers", "0"], capsys)[:1] == ["pretrain"]
    return "films"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["prepare", "films", "-o", "copy", "--workers", "0"],
        ["prepare", "films", "-o", "copy", "--size", "48", "--margin", "1", "--workers", "0"],
        ["prepare", "films", "-o", "copy", "--memmap", "--size", "40", "--frames", "4", "--sound-seconds", "1.5"],
        ["stats", "films", "--tiny", "-o", "statistics.json"],
    ],
    ids=["shards", "small shards", "arrays", "statistics"],
)
def test_after_preparing_the_run_that_is_named_fits(words, collection, capsys):
    then = following(words, capsys)
    assert then[0] == "pretrain"
    assert main([*then, "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_a_search_leads_to_a_page_and_a_page_to_figures(collection, capsys):
    tiny_model().save(Path("model"))
    asked = ["search", "--model", "model", "--collection", collection, "--query", "1.mp4"]
    page = following(asked, capsys)
    assert page == ["explain", "--model", "model", "--collection", collection]
    assert following(page, capsys)[:2] == ["evaluate", "retrieval"]


@pytest.mark.slow
def test_an_exported_model_leads_to_the_embeddings_that_others_should_find(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("coview.interchange.onnx.export_onnx", lambda model, folder: {})  # takes a minute
    tiny_model().save(Path("model"))
    assert main(["export", "model", "--onnx", "graphs"]) == 0 and "Next:" not in capsys.readouterr().err
    Path("films").mkdir()
    Path("films/collection.json").touch()
    assert following(["export", "model", "--onnx", "graphs"], capsys) == [
        "embed", "--model", "model", "--collection", "films", "-o", "my-embeddings"
    ]  # fmt: skip


def test_the_list_of_methods_leads_to_one_and_where_there_are_recordings_to_learning(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    one = following(["methods"], capsys)
    Path("another").mkdir()
    Path("another/collection.json").write_text('{"counts": []}')
    assert following(["methods"], capsys) == one
    Path("another/collection.json").unlink()
    assert one[0] == "methods" and following(one, capsys) == ["pretrain", one[1], "--help"]
    for name in "abc":
        with wave.open(f"{name}.wav", "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(b"\x10\x20" * 4000 + name.encode() * 2)
    assert main(["index", ".", "-o", "sounds", "--workers", "0"]) == 0
    said = capsys.readouterr().err
    assert f"Next: coview {shlex.join(following(['methods'], capsys))}\n" in said


def test_names_that_are_taken_get_a_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (free("my-run"), collection_here()) == ("my-run", None)
    (tmp_path / "my-run").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "collection.json").touch()
    assert (free("my-run"), collection_here()) == ("my-run-2", Path("b"))
