"""`coview label`: proposals into the log and a table, beside what people said, read by index and evaluate."""

import csv
import json
import os
import shlex
import shutil
import time
import wave
from pathlib import Path

import pytest
import torch
from measured import collection

from coview.cli.main import main
from coview.data.augment import PRESETS
from coview.data.collection import Collection
from coview.data.identity import kept_name
from coview.data.preprocess import Preprocess
from coview.data.relabelled import read_labels
from coview.data.synthetic.digits import DigitsWorld
from coview.data.views import ImageView, TextView
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.weak_captions import WeakCaptionsSettings
from coview.model import Model
from coview.search.labels import LabelLog, Said, log_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that knows three words, untrained."""
    torch.manual_seed(0)
    views = {"image": ImageView(size=16, margin=1.0), "text": TextView(length=40, tokens="words")}
    settings = WeakCaptionsSettings(**views, image_encoder="image-tiny", words=10, frequent=0)
    method = build("weak-captions", settings, Facts(rows=16))
    method.encoders["text"].take({"dog": 3, "rain": 2, "cat": 1}, 4)
    torch.nn.init.normal_(method.encoders["text"].weight)
    folder = tmp_path_factory.mktemp("words") / "model"
    Model.of(method, Preprocess(method.views, PRESETS["none"]), DigitsWorld("A", "train", 16)).save(folder)
    return str(folder)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The same films without labels, indexed anew, and a data folder of its own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    films = sorted((collection() / "media").glob("**/*.mp4"))[:6]
    Path("films.csv").write_text("path,split\n" + "".join(f"{film},test\n" for film in films))
    assert main(["index", "films.csv", "-o", "films", "--workers", "0"]) == 0
    return "films"


def label(capsys, model, place, *more, code=0):
    capsys.readouterr()
    assert main(["label", "--model", model, "--collection", place, *more]) == code
    return capsys.readouterr()


def test_what_people_said_of_an_earlier_index_is_in_the_table_too(model, place, capsys):
    earlier = Collection.open(place)
    with LabelLog(log_of(earlier.fingerprint)) as log:
        log.add([Said(earlier[0].id, "snow", "key", None, time.time(), "page", earlier.digests[0])])
    Path("fewer.csv").write_text("".join(Path("films.csv").read_text().splitlines(keepends=True)[:4]))
    assert main(["index", "fewer.csv", "-o", "fewer", "--workers", "0"]) == 0
    said = label(capsys, model, "fewer", "--classes", "dog, rain", "-o", "table.csv")
    assert (
        "earlier index of these recordings: 1" in said.err and read_labels(Path("table.csv"))[earlier[0].id] == "snow"
    )


def test_proposals_beside_what_people_said(model, place, capsys):
    asked = ["--classes", "dog, rain, c++, unheard"]
    found = label(capsys, model, place, *asked, "-o", "one.csv", "--json", code=3)
    result = json.loads(found.out)
    assert (result["recordings"], result["proposed"], result["new"]) == (6, 6, 6)
    assert result["classes"] == ["dog", "rain"] and sum(result["counts"].values()) == 6
    assert [problem["recording"] for problem in result["problems"]] == ["--classes"]
    first = Collection.open(place)[0].id
    with LabelLog(log_of(Collection.open(place).fingerprint)) as log:
        assert {line.how for line in log.lines()} == {"zero-shot"}
        log.add([Said(first, "snow", "key", None, time.time(), "page")])
    again = json.loads(label(capsys, model, place, *asked, "-o", "two.csv", "--json", code=3).out)
    assert (again["new"], again["kept"], again["agree"]) == (0, 1, 0) and again["counts"] == result["counts"]
    with Path("two.csv").open(newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    assert (rows[first]["label"], rows[first]["how"], rows[first]["confidence"]) == ("snow", "key", "")
    assert rows[first]["proposed"] in ("dog", "rain")
    assert all(0.5 <= float(row["confidence"]) <= 1 for name, row in rows.items() if name != first)


def test_index_and_evaluate_read_the_table(model, place, capsys):
    said = label(capsys, model, place, "--classes", "dog,rain,cat")
    assert "has learnt no scale" in said.err and "mean confidence" in said.out
    following = shlex.split(next(line for line in said.err.splitlines() if line.startswith("Next: ")))[2:]
    assert following == ["index", "my-labels.csv", "-o", "my-labelled"]
    assert main([*following, "--workers", "0"]) == 0
    assert main(["label", "--model", model, "--collection", place, "--classes", "dog,rain,cat", "-o", "l.csv"]) == 0
    with Path("l.csv").open(newline="") as stream:
        labels = {row["id"]: row["label"] for row in csv.DictReader(stream)}
    labelled = Collection.open("my-labelled")
    assert {one.id: one.label for one in labelled} == labels
    asked = ["evaluate", "zero-shot", "--model", model, "--collection", place, "--train-split", "test", "--json"]
    capsys.readouterr()
    main([*asked, "--labels", "l.csv"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    own = rows["image_zero_shot/weak-captions"]
    assert (own["n"], own["value"]) == (6, 1.0)  # the model's own proposals, of the same windows


def test_a_label_of_the_collection_stays(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    table = str(tmp_path / "labels.parquet")
    found = label(capsys, model, str(collection()), "--classes", "dog,rain", "-o", table, "--json")
    result = json.loads(found.out)
    assert (result["kept"], result["proposed"]) == (30, 30) and "30 recordings have a label already" in found.err


def test_what_lacks_the_view_has_no_proposal_and_any_name_comes_back(model, place, capsys):
    film = next((collection() / "media").glob("**/*.mp4"))
    odd = Path(os.fsdecode(b"latin\xe9.mp4"))
    shutil.copy(film, odd)
    with wave.open("sound.wav", "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    Path("mixed.csv").write_text(f"path,id\n{film},film\nsound.wav,sound\n{kept_name(odd)},odd\n")
    assert main(["index", "mixed.csv", "-o", "mixed", "--workers", "0"]) == 0
    found = json.loads(label(capsys, model, "mixed", "--classes", "dog,rain", "-o", "labels.csv", "--json").out)
    assert (found["recordings"], found["proposed"]) == (3, 2)
    assert set(read_labels(Path("labels.csv"))) == {"film", "odd"}
    assert main(["index", "labels.csv", "-o", "again", "--workers", "0"]) == 0
    assert {one.id for one in Collection.open("again")} == {"film", "sound", "odd"}


@pytest.mark.parametrize(
    "more, said",
    [
        (["--classes", "dog"], "expected two names at least"),
        (["--classes", "dog,\udcff"], "is no text in Unicode"),
        (["--classes", "unheard,unseen"], "two classes at least are told apart"),
        (["--classes", "dog,rain", "--prompts", "nothing"], "expected sentences with {}"),
        (["--classes", "dog,rain", "--view", "audio"], "no embeddings of audio"),
        (["--classes", "dog,rain", "--at-least", "2"], "a confidence from 0 to 1"),
        (["--classes", "dog,rain", "-o", "labels.txt"], ".csv or .parquet"),
    ],
)
def test_wrong_use(model, place, capsys, more, said):
    assert said in label(capsys, model, place, *more, code=2).err
