"""Search by example over HTTP: what the command finds, and nothing that was not asked for, whatever is sent."""

import io
import json
import shutil
import tempfile
import wave
from pathlib import Path

import numpy as np
import pytest
from measured import collection, tiny_model
from PIL import Image
from serving import HERE, PAGE, client_of
from starlette.testclient import TestClient

from coview.cli.main import main
from coview.data.collection import Collection, write_tables
from coview.search.places import embeddings_of
from coview.search.query import search, stored_vector
from coview.serve import queries
from coview.serve.searching import Searching

MOST = 1 << 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searching")
    model = tiny_model()
    model.save(folder / "model")
    stored = embeddings_of(model, folder / "model", str(collection()), 4, None, lambda done, total: None)
    return folder, lambda library, workers: Searching(library, model, stored, workers, MOST), stored


@pytest.fixture(scope="module")
def page(made):
    folder, searching, _ = made
    with client_of(collection(), folder / "cache", searching=searching) as client:
        yield client


def ask(page: TestClient, path: str = "search", **fields):
    usual = {"c": page.c, "parts": [{"row": 0}], "by": ["audio"], "find": ["video"]}
    return page.post(f"/api/{path}", json={**usual, **({"k": 5} if path == "search" else {}), **fields}, headers=PAGE)


def send(page: TestClient, content: bytes, **headers):
    return page.put("/api/queries", content=content, headers={**PAGE, **headers})


def sound(samples: np.ndarray, rate: int = 16000) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return written.getvalue()


def photo(brightest: int) -> bytes:
    written = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 1 + brightest, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


def test_what_can_be_asked_is_said(page):
    said = page.get("/api/about").json()["search"]
    titles = {"video": "picture", "audio": "sound"}
    assert {view["name"]: view["title"] for view in said["by"]} == titles
    assert {view["name"]: view["title"] for view in said["find"]} == titles
    assert said["files"] and said["words"] == "" and said["most"] == MOST and said["recordings"] == 30
    assert ["audio", "video"] in said["pairs"]


def test_without_a_model_there_is_no_search(tmp_path):
    with client_of(collection(), tmp_path / "cache") as page:
        assert page.get("/api/about").json()["search"] is None
        assert ask(page).status_code == 404


def test_a_recording_finds_what_the_command_finds_but_itself(page, made):
    stored = made[2]
    expected = search(stored, "video", stored_vector(stored, "audio", stored.ids[3]), 30)
    found = ask(page, parts=[{"row": 3}], k=30).json()
    assert [hit["row"] for hit in found["hits"]] == [hit.row for hit in expected if hit.row != 3]
    known = {hit.row: hit for hit in expected}
    for hit in found["hits"]:
        assert hit["cosines"] == {"video": pytest.approx(known[hit["row"]].similarity, abs=1e-6)}
        assert hit["second"] == known[hit["row"]].start and 0 <= hit["percentile"] <= 100
        assert len(hit["windows"]) == 4 and hit["id"] == stored.ids[hit["row"]]
    own = ask(page, parts=[{"row": 3}], k=30, own=True).json()["hits"]
    assert [hit["row"] for hit in own] == [hit.row for hit in expected]


def test_a_file_that_is_sent_finds_what_the_command_finds(page, made, capsys):
    opened = Collection.open(collection())
    file = opened.path(opened[4])
    arguments = ["--model", str(made[0] / "model"), "--collection", str(collection()), "--query", str(file), "--json"]
    assert main(["search", *arguments, "--from", "audio", "--to", "audio", "--device", "cpu"]) == 0
    expected = json.loads(capsys.readouterr().out)["hits"]
    sent = send(page, file.read_bytes()).json()
    assert sorted(sent["views"]) == ["audio", "video"] and sent["picture"] and sent["sound"] and sent["remarks"] == []
    found = ask(page, parts=[{"query": sent["query"]}], find=["audio"]).json()["hits"]
    assert [hit["id"] for hit in found] == [hit["id"] for hit in expected]
    cosines = [hit["cosines"]["audio"] for hit in found]
    assert cosines == pytest.approx([hit["similarity"] for hit in expected], abs=1e-4)


def test_nothing_that_was_sent_is_kept(page):
    opened = Collection.open(collection())
    before = set(Path(tempfile.gettempdir()).glob("coview-queries-*/*"))
    assert send(page, opened.path(opened[0]).read_bytes()).status_code == 200
    refused = send(page, b"no media at all")
    assert refused.status_code == 422 and refused.json()["hint"] == "try another file"  # nobody indexed it
    assert set(Path(tempfile.gettempdir()).glob("coview-queries-*/*")) == before


def test_a_folder_of_temporary_files_that_was_cleaned_is_made_anew(made, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with client_of(collection(), tmp_path / "cache", searching=made[1]) as page:
        [folder] = tmp_path.glob("coview-queries-*")
        folder.rmdir()
        assert send(page, sound(0.3 * np.random.default_rng(0).standard_normal(32000))).status_code == 200
    assert not list(tmp_path.glob("coview-queries-*"))


def test_spans_filters_likes_and_weights(page):
    opened = Collection.open(collection())
    end = opened[2].end
    whole = ask(page, parts=[{"row": 2, "from": 0, "to": end}], find=["audio"], own=True).json()["hits"]
    assert whole[0]["row"] == 2
    part = ask(page, parts=[{"row": 2, "from": 0, "to": end / 2}], find=["audio"]).json()["hits"]
    assert part and all(hit["row"] != 2 for hit in part)
    label = opened[5].label
    some = ask(page, where=[{"column": "label", "in": [label]}], k=30).json()
    assert {hit["label"] for hit in some["hits"]} == {label} and some["among"] == len(some["hits"])
    plain = [hit["row"] for hit in ask(page, k=30).json()["hits"]]
    moved = [hit["row"] for hit in ask(page, k=30, liked=plain[-1:], disliked=plain[:1]).json()["hits"]]
    assert moved != plain and sorted(moved) == sorted(plain)
    away = ask(page, k=30, parts=[{"row": 0, "weight": -1}]).json()["hits"]
    assert away[-1]["row"] == plain[0]
    both = ask(page, parts=[{"row": 0}, {"row": 1, "weight": 0.5}], by=["audio", "video"], find=["video", "audio"])
    hits = both.json()["hits"]
    assert set(hits[0]["cosines"]) == {"audio", "video"} and {0, 1}.isdisjoint(hit["row"] for hit in hits)


def test_which_second(page):
    found = ask(page, "curve", row=6, find=["audio", "video"]).json()["curves"]
    assert [curve["view"] for curve in found] == ["audio", "video"]
    opened = Collection.open(collection())
    for curve in found:
        assert len(curve["start"]) == len(curve["cosine"]) == len(curve["height"])
        assert curve["start"][-1] + curve["seconds"] <= opened[6].end + 0.05
        assert (np.diff(curve["start"]) <= curve["seconds"] / 4 + 0.05).all()
        assert min(curve["height"]) >= 0 and max(curve["height"]) <= 1


def test_a_photograph_is_shown_standing_still_and_black_or_silence_is_said(page):
    sent = send(page, photo(200)).json()
    assert sent["views"] == ["video"] and sent["remarks"] == []
    assert len(ask(page, parts=[{"query": sent["query"]}], by=["video", "audio"]).json()["hits"]) == 5
    refused = ask(page, parts=[{"query": sent["query"]}])
    assert refused.status_code == 422 and "this file has no sound" in refused.json()["error"]
    assert "black" in send(page, photo(3)).json()["remarks"][0]
    silent = send(page, sound(np.zeros(32000)))
    assert silent.status_code == 422 and "silent" in silent.text
    noise = send(page, sound(0.3 * np.random.default_rng(0).standard_normal(32000))).json()
    assert noise["views"] == ["audio"] and noise["sound"] and not noise["picture"]


def test_who_may_send(page):
    """Every route stands behind the guard: no cookie, another page, another host."""
    stranger = TestClient(page.guard, base_url=HERE)
    assert stranger.put("/api/queries", content=b"x", headers=PAGE).status_code == 401
    for path in ("search", "curve"):
        assert stranger.post(f"/api/{path}", json={}, headers=PAGE).status_code == 401
        assert page.post(f"/api/{path}", json={}).status_code == 403
        assert page.get(f"/api/{path}").status_code == 405
    assert page.put("/api/queries", content=b"x").status_code == 403
    assert page.put("/api/queries", content=b"x", headers={**PAGE, "origin": "http://evil.example"}).status_code == 403
    assert send(page, b"x", host="evil.example").status_code == 421
    assert page.post("/api/queries", content=b"x", headers=PAGE).status_code == 405


def test_what_is_too_much_or_of_no_length(page):
    assert send(page, b"x" * (MOST + 1)).status_code == 413
    assert page.put("/api/queries", content=iter([b"x"]), headers=PAGE).status_code == 411
    assert send(page, b"").status_code == 422
    # A playlist names other files; it is refused, and nothing is opened.
    assert send(page, b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n").status_code == 422
    assert send(page, b"ffconcat version 1.0\nfile /etc/passwd\n").status_code == 422


@pytest.mark.parametrize(("fields", "status"), [
    ({"parts": []}, 400), ({"parts": [{"row": 0}] * 17}, 400), ({"parts": ["row"]}, 400),
    ({"parts": [{"path": "/"}]}, 400), ({"parts": [{"row": 30}]}, 404), ({"parts": [{"row": -1}]}, 404),
    ({"parts": [{"row": True}]}, 404), ({"parts": [{"row": "0"}]}, 404), ({"parts": [{"row": 0, "more": 1}]}, 400),
    ({"parts": [{"row": 0, "weight": 0}]}, 400), ({"parts": [{"row": 0, "weight": 1e9}]}, 400),
    ({"parts": [{"row": 0, "weight": "1"}]}, 400), ({"parts": [{"row": 0, "weight": 10**400}]}, 400),
    ({"parts": [{"row": 0, "from": 0, "to": 10**400}]}, 400), ({"where": [{"column": "words", "has": ""}] * 101}, 400),
    ({"parts": [{"query": "../../etc/passwd"}]}, 410),
    ({"parts": [{"text": "dog"}]}, 400), ({"parts": [{"text": ""}]}, 400),
    ({"parts": [{"row": 0, "from": 5, "to": 1}]}, 400), ({"parts": [{"row": 0, "from": 0}]}, 400),
    ({"find": []}, 400), ({"find": ["model"]}, 400), ({"find": [1]}, 400), ({"by": []}, 422), ({"by": ["model"]}, 422),
    ({"by": [[]]}, 400), ({"k": 0}, 400), ({"k": 1001}, 400), ({"liked": [99]}, 404),
    ({"liked": [1], "disliked": [1]}, 400), ({"where": [{"column": "digest", "in": []}]}, 400), ({"c": "other"}, 409),
    ({"file": "/etc/passwd"}, 400), ({"parts": [{"row": 0}, {"row": 0, "weight": -1}]}, 422),
])  # fmt: skip
def test_what_cannot_be_asked(page, fields, status):
    answer = ask(page, **fields)
    assert answer.status_code == status and answer.json()["error"]


def test_queries_are_forgotten_one_after_the_other(monkeypatch):
    monkeypatch.setattr(queries, "KEPT", 2)
    kept = queries.Recent()
    for key in "abc":
        kept.put(key, key.upper())
    assert [kept.get(key) for key in "abc"] == [None, "B", "C"]
    assert kept.get_or_make("a", lambda: "new") == "new" and kept.get("b") is None


def test_a_collection_that_was_indexed_again_is_not_searched(made, tmp_path):
    shutil.copytree(collection(), tmp_path / "collection")
    with client_of(tmp_path / "collection", tmp_path / "cache", searching=made[1]) as page:
        opened = Collection.open(collection())
        about = {"source": "s", "root": str(opened.root), "ignored": {}, "report": {}}
        write_tables(tmp_path / "collection", opened.recordings[:10], [], about)
        page.c = page.get("/api/about").json()["fingerprint"]
        answer = ask(page)
        assert answer.status_code == 409 and "since it was embedded" in answer.json()["error"]
