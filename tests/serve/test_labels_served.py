"""Labels over the server's routes: given, taken back, kept over a kill, exported, indexed and evaluated."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from serving import PAGE, client_of, make_collection

from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.relabelled import read_labels
from coview.data.stored import Stored
from coview.search.labelling import Labelling
from coview.search.labels import LabelLog, log_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return make_collection(tmp_path / "c")


def ask(client, what, status=200, **fields):
    answer = client.post(f"/api/labels{what}", json={"c": client.c, **fields}, headers=PAGE)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_labels_are_given_taken_back_and_exported(folder, tmp_path):
    with client_of(folder, tmp_path / "cache") as client:
        found = ask(client, "/next")
        assert sorted(item["row"] for item in found["items"]) == [0, 1, 2, 3] and not found["state"]["features"]
        [drawn] = [item["row"] for item in found["items"] if item["how"] == "random"]
        for row in {0, 1, 2, 3} - {drawn}:  # what is said to be drawn at random was
            assert "not drawn" in ask(client, "", 400, row=row, label="dog", how="random")["error"]
        assert ask(client, "/next", but=[0, 1])["items"] and ask(client, "/next", but=[0, 1, 2, 3])["items"] == []
        ask(client, "/classes", name="=cmd()")  # a class may have any name
        ask(client, "", row=0, label="dog", how="key")
        ask(client, "", row=1, label="<b>rain</b>", how="random" if drawn == 1 else "key")
        ask(client, "", row=2, label=None, how="skip")
        assert ask(client, "", row=3, label=None, how="broken")["broken"] == 1
        assert ask(client, "/undo")["undone"] == {"rows": [3], "label": None, "how": "broken"}
        ask(client, "", row=3, label=None, how="broken")
        text = client.get(f"/api/labels/labels.csv?c={client.c}")
        assert "attachment" in text.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(text.content.decode())))
        assert [(row["id"], row["label"]) for row in rows] == [
            ("a-film.mp4", "dog"), ("b-old.avi", "<b>rain</b>"), ("c-tone.wav", ""),
        ]  # fmt: skip
        table = client.get(f"/api/labels/labels.parquet?c={client.c}").content
        assert pq.read_table(io.BytesIO(table)).column("label").to_pylist() == ["dog", "<b>rain</b>", None]
        some = json.dumps([{"column": "kind", "in": ["sound", "still"]}])  # what is filtered, as a manifest
        part = client.get("/api/labels/labels.csv", params={"c": client.c, "where": some}).text
        assert [row["id"] for row in csv.DictReader(io.StringIO(part))] == ["c-tone.wav"]  # the still one is broken
        halves = [
            json.dumps([{"column": "label", "in": ["\ud800"]}]),
            json.dumps([{"column": "words", "has": "\ud800"}]),
        ]
        for wrong in ("{", "{}", "[1]", '[{"column": "path"}]', "[" * 5000, *halves):
            assert client.get("/api/labels/labels.csv", params={"c": client.c, "where": wrong}).status_code == 400
    (tmp_path / "labels.csv").write_bytes(text.content)
    assert read_labels(tmp_path / "labels.csv") == {"a-film.mp4": "dog", "b-old.avi": "<b>rain</b>"}
    index_source(str(tmp_path / "labels.csv"), tmp_path / "again", workers=0)
    assert Collection.open(tmp_path / "again").column("label") == ["dog", "<b>rain</b>", None]
    # The new collection's own labels are these; those of the log came along, what was skipped and broken too.
    with client_of(tmp_path / "again", tmp_path / "cache") as client:
        state = ask(client, "/next")["state"]
        assert state["carried"] == {"labels": 2, "logs": 1} and state["labelled"] == 2 and state["skipped"] == 1


WRONG = [
    ("", 404, {"row": 4, "label": "a", "how": "key"}), ("", 404, {"row": -1, "label": "a", "how": "key"}),
    ("", 404, {"label": "a", "how": "key"}), ("", 400, {"row": True, "label": "a", "how": "key"}),
    ("", 400, {"row": 0, "label": "", "how": "key"}), ("", 400, {"row": 0, "label": "x" * 101, "how": "key"}),
    ("", 400, {"row": 0, "label": "a", "how": "zero-shot"}), ("", 400, {"row": 0, "label": None, "how": "key"}),
    ("", 400, {"row": 0, "label": "a", "how": "key", "id": "b"}), ("/next", 400, {"but": ["0"]}),
    ("/next", 400, {"but": [0] * 1001}), ("/classes", 400, {"name": None}), ("/suggestions", 400, {"precision": 1.5}),
    ("/suggestions", 400, {}), ("/undo", 409, {"c": "another"}),
]  # fmt: skip


def test_what_cannot_be_is_refused_and_writes_nothing(folder, tmp_path):
    with client_of(folder, tmp_path / "cache") as client:
        for what, status, fields in WRONG:
            said = ask(client, what, status, **fields)
            assert said["error"] and str(tmp_path) not in str(said)
        body = {"c": client.c, "row": 0, "label": "a", "how": "key"}
        assert client.post("/api/labels", json=body).status_code == 403  # not from the page
        assert client.get("/api/labels/labels.exe").status_code == 404
        assert client.get("/api/labels/labels.csv").status_code == 409
    with LabelLog(log_of(Collection.open(folder).fingerprint)) as log:
        assert log.lines() == []


def test_a_log_that_cannot_be_kept_is_told_without_its_place(folder, tmp_path, capsys):
    place = log_of(Collection.open(folder).fingerprint)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"no database" * 100)
    with client_of(folder, tmp_path / "cache") as client:
        assert ask(client, "/next", 503) == {"error": "labels cannot be kept", "hint": "the server's terminal says why"}
    assert "no log of labels" in capsys.readouterr().out


def test_no_label_goes_into_a_log_that_was_deleted(folder, tmp_path, capsys):
    with client_of(folder, tmp_path / "cache") as client:
        ask(client, "", row=0, label="dog", how="key")
        shutil.rmtree(tmp_path / "data")
        assert ask(client, "", 503, row=1, label="dog", how="key")["error"] == "labels cannot be kept"
    assert "deleted or replaced" in capsys.readouterr().out


def test_labels_of_a_collection_that_changes_meanwhile_are_refused_as_such(folder, tmp_path, monkeypatch):
    with client_of(folder, tmp_path / "cache") as client:
        ask(client, "/next")

        def changed_meanwhile(self, *given):
            self.close()
            Path(folder / "collection.json").write_text((folder / "collection.json").read_text().replace(client.c, "x"))
            return say(self, *given)

        say = Labelling.say
        monkeypatch.setattr(Labelling, "say", changed_meanwhile)
        assert ask(client, "", 409, row=0, label="dog", how="key")["hint"] == "reload the page"


def test_a_classifier_learns_and_is_measured(folder, tmp_path):
    ids = Collection.open(folder).ids
    clips = {"audio": np.eye(4, dtype=np.float32)[:, None]}
    present, start = {"audio": np.ones((4, 1), bool)}, {"audio": np.zeros((4, 1))}
    stored = Stored(tmp_path, {}, clips, present, start, ids, [""] * 4, [], "")
    with client_of(folder, tmp_path / "cache", stored=stored) as client:
        state = ask(client, "/next")["state"]
        assert state["features"] and not state["learns"] and state["needs"] == {"classes": 2, "items": 3}
        assert ask(client, "/suggestions", precision=0.9) == {"offered": None, "count": 0, "by": {}, "least": 44}


@pytest.mark.slow
def test_a_kill_loses_no_label_that_was_answered(folder, tmp_path):
    import httpx

    words = [sys.executable, "-m", "coview", "serve", "--collection", str(folder), "--port", "0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    here, token = process.stdout.readline().strip().split("/#t=")
    page = {"x-coview": "1", "origin": here}
    with httpx.Client(base_url=here, headers=page, timeout=60) as client:
        assert client.post("/api/session", json={"token": token}).status_code == 200
        c = client.get("/api/about").json()["fingerprint"]
        for row, label in enumerate(("dog", "rain", "dog")):
            body = {"c": c, "row": row, "label": label, "how": "key"}
            assert client.post("/api/labels", json=body).status_code == 200
        process.send_signal(signal.SIGKILL)
        process.wait()
    with client_of(folder, tmp_path / "cache") as client:
        assert ask(client, "/next")["state"]["labelled"] == 3
        assert ask(client, "/undo")["undone"]["label"] == "dog"  # over the restart
        assert ask(client, "/next")["state"]["labelled"] == 2
