"""Captions end to end: train sound against caption through the command line, then search by words."""

import json
from pathlib import Path

import pytest
import torch

import coview
from coview.cli.main import main
from coview.errors import UsageError
from coview.media.encode import write_clip
from coview.randomness import make_key, normal

WORDS = ("a low hum", "a high whistle", "rain", "a dog barks")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("captions")
    lines = []
    for index in range(8):
        noise = 0.1 * normal(make_key(index), 0, 19_200)
        write_clip(folder / f"{index}.mp4", None, None, noise, 16_000)
        lines.append({"path": f"{index}.mp4", "caption": WORDS[index % 4], "split": "train" if index < 6 else "test"})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    collection, out = folder / "collection", folder / "run"
    assert main(["index", str(folder / "manifest.jsonl"), "-o", str(collection)]) == 0
    words = ["pretrain", "infonce", "--tiny", "--collection", str(collection), "-o", str(out)]
    words += ["--method.views", "audio", "text", "--train.steps", "2", "--train.batch-size", "4"]
    assert main([*words, "--train.workers", "0", "--train.device", "cpu"]) == 0
    return collection, out


def test_words_find_recordings(run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    collection, out = run
    capsys.readouterr()
    arguments = ["--model", str(out), "--collection", str(collection), "--device", "cpu", "--json"]
    assert main(["search", *arguments, "--text", "a dog barks", "-k", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["from"], result["to"], len(result["hits"])) == ("text", "audio", 3)
    assert main(["search", *arguments, "--text", "rain", "--query", "x.wav"]) == 2
    assert "--query FILE or --text WORDS" in capsys.readouterr().err


def test_evaluation_and_samples_know_captions(run: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    collection, out = run
    assert main(["evaluate", "retrieval", "--model", str(out), "--collection", str(collection), "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)["results"]}
    assert {"retrieval_a2t_r1/infonce", "retrieval_t2a_r1/infonce"} <= names
    assert set((out / "samples" / "text.txt").read_text(encoding="utf-8").split("\n")) <= {*WORDS, ""}


def test_texts_are_embedded_alike_in_any_company(run: tuple[Path, Path]) -> None:
    model = coview.load(run[1])
    alone, both = model.embed_texts(["rain"]), model.embed_texts(["a dog barks all night", "rain"])
    assert alone.shape == (1, model.dim["text"])
    torch.testing.assert_close(both[1:], alone)
    with pytest.raises(UsageError, match="embed_texts"):
        model.embed(["x.mp4"], view="text")
