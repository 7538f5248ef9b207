"""Files of a collection by row: nothing else is ever sent, and what browsers cannot play is copied for them."""

import dataclasses
import io
import json
import os
import shutil

import av
import numpy as np
import pytest
from PIL import Image
from serving import PAGE, client_of, make_collection
from starlette.testclient import TestClient

from coview.data.collection import Collection, write_tables
from coview.errors import MediaError
from coview.serve import looks
from coview.serve.cache import Cache
from coview.serve.sending import asked_range
from coview.serve.workers import Workers

FILM, OLD, TONE, PHOTO = range(4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    return make_collection(folder)


@pytest.fixture(scope="module")
def page(made):
    with client_of(made, made.parent / "cache") as client:
        yield client


def get(page: TestClient, row: object, kind: str = "", **headers: str):
    return page.get(f"/media/{row}{kind}", params={"c": page.c}, headers=headers)


def test_a_film_is_sent_as_it_is_whole_and_in_ranges(page, made):
    whole = (made.parent / "media" / "a-film.mp4").read_bytes()
    answer = get(page, FILM)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, whole, "video/mp4")
    part = get(page, FILM, range="bytes=0-9")
    assert (part.status_code, part.content, part.headers["content-range"]) == (
        206,
        whole[:10],
        f"bytes 0-9/{len(whole)}",
    )
    assert get(page, FILM, range="bytes=-5").content == whole[-5:]
    assert get(page, FILM, range=f"bytes={len(whole) - 3}-").content == whole[-3:]
    assert get(page, FILM, range=f"bytes={len(whole)}-").status_code == 416
    etag = answer.headers["etag"]
    assert get(page, FILM, **{"if-none-match": etag}).status_code == 304
    assert get(page, FILM, range="bytes=0-9", **{"if-range": '"another"'}).status_code == 200
    head = page.head(f"/media/{FILM}", params={"c": page.c})
    assert (head.headers["content-length"], head.content) == (str(len(whole)), b"")


@pytest.mark.parametrize(
    "header", ["bytes=0-1,2-3", "bytes=5-2", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=" + "0" * 80 + "-1"]
)
def test_ranges_that_are_not_understood_bring_the_whole(page, header):
    assert get(page, FILM, range=header).status_code == 200


def test_thousands_of_ranges_cost_nothing():
    """CVE-2025-62727: a header of many ranges kept a server busy."""
    assert asked_range("bytes=" + ",".join(f"{k}-{k}" for k in range(2000)), 10**6) is None
    assert asked_range("bytes=0-", 0) == (0, 0) and asked_range("bytes=-0", 9) == (0, 0)


@pytest.mark.parametrize(
    "row", ["999999999", "-1", "..%2f", "%2e%2e%2fetc%2fpasswd", "0x0", "1e3", "\u0661", "9" * 5000, "0/.."]
)
def test_only_rows_are_found(page, row):
    """CVE-2024-1561, CVE-2023-51449: files by path. Here no path is ever made of an address."""
    assert get(page, row).status_code == 404
    assert get(page, row, "/poster").status_code == 404


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "vendor%2fx", "app.py", "__init__.py"])
def test_static_files_are_a_table_of_names(page, name):
    assert page.get(f"/static/{name}").status_code == 404
    assert page.get("/static/main.js").headers["content-type"].startswith(("text/javascript", "application/javascript"))


def test_the_old_film_is_played_by_a_copy(page):
    assert get(page, FILM, "/play").json()["direct"] is True
    how = get(page, OLD, "/play").json()
    assert how["direct"] is False and "mpeg4" in how["why"]
    assert get(page, OLD).status_code == 415
    copy = get(page, OLD, "/proxy")
    assert copy.status_code == 200 and copy.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(copy.content)) as film:
        stream = film.streams.video[0]
        shown = list(film.decode(stream))
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert len(shown) == 16 and shown[-1].time == pytest.approx(15 / 8, abs=0.01)
    assert get(page, OLD, "/proxy", range="bytes=0-3").content == copy.content[:4]


def test_a_copy_keeps_picture_and_sound_on_one_clock(page):
    with av.open(io.BytesIO(get(page, FILM, "/proxy").content)) as film:
        frames = list(film.decode(film.streams.video[0]))
    with av.open(io.BytesIO(get(page, FILM, "/proxy").content)) as film:
        heard = np.concatenate(
            [frame.to_ndarray()[0] for frame in film.decode(film.streams.audio[0]) if frame.pts >= 0]
        )
    assert [round(frame.time * 8) for frame in frames] == list(range(16))
    loud = np.flatnonzero(np.abs(heard) > 0.2) / 48000
    assert loud.max() == pytest.approx(1.0, abs=0.03)


def test_posters_pictures_and_peaks(page):
    with Image.open(io.BytesIO(get(page, FILM, "/poster").content)) as poster:
        assert poster.size == (64, 48)
        left, right = poster.getpixel((8, 24)), poster.getpixel((56, 24))
    assert max(left) < 40 and right[0] > 200
    with Image.open(io.BytesIO(get(page, PHOTO, "/picture").content)) as picture:
        assert picture.size == (60, 40) and picture.getpixel((30, 20))[1] > 180
    for row in (FILM, TONE):
        pairs = np.frombuffer(get(page, row, "/peaks").content, np.int8).reshape(-1, 2)
        assert pairs[2:18, 1].min() > 55 and pairs[2:18, 0].max() < -55 and np.abs(pairs[22:]).max() <= 2
    few = page.get(f"/media/{TONE}/peaks", params={"c": page.c, "points": "4"}).content
    assert len(few) == 8
    assert get(page, TONE, "/poster").status_code == 422
    assert get(page, PHOTO, "/peaks").status_code == 422


def test_a_row_of_another_state_of_the_collection_shows_nothing(page):
    """TensorBoard#4611 showed the wrong picture."""
    assert page.get(f"/media/{FILM}/poster").status_code == 409
    answer = page.get(f"/media/{FILM}", params={"c": "0" * 16})
    assert (answer.status_code, answer.json()["hint"]) == (409, "reload the page")


@pytest.fixture
def stranger(tmp_path):
    """A collection as a stranger may have written it: any path in it."""
    root = tmp_path / "media"
    root.mkdir()
    (tmp_path / "media-evil").mkdir()
    secret = tmp_path / "media-evil" / "secret.mp4"
    make_collection(tmp_path / "real")
    shutil.copy(tmp_path / "real" / "media" / "a-film.mp4", secret)
    shutil.copy(secret, root / "good.mp4")
    (root / "link.mp4").symlink_to(secret)
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    os.mkfifo(root / "pipe.mp4")
    good = Collection.open(tmp_path / "real" / "collection")[FILM]
    paths = {
        "0-good": "good.mp4",
        "1-absolute": str(secret),
        "2-up": "../media-evil/secret.mp4",
        "3-link": "link.mp4",
        "4-passwd": "/etc/passwd",
        "5-folder": "../media-evil",
        "6-loop": "loop.mp4",
        "7-nul": "a\x00b",
        "8-pipe": "pipe.mp4",
        "9-gone": "gone.mp4",
    }
    rows = [dataclasses.replace(good, id=name, path=path) for name, path in paths.items()]
    folder = tmp_path / "strange"
    folder.mkdir()
    about = {"source": "strange", "root": str(root), "ignored": {}, "report": {}}
    write_tables(folder, rows, [], about)
    return folder


def test_files_outside_of_the_collection_are_not_shown(stranger):
    """CVE-2026-35397 compared prefixes; TensorBoard#7115 and label-studio trusted paths in data."""
    with client_of(stranger, stranger.parent / "cache") as page:
        codes = [get(page, row, kind).status_code for row in range(10) for kind in ("", "/poster")]
        assert codes == [200] * 2 + [403] * 10 + [404] * 4 + [409] * 2 + [404] * 2
        said = get(page, 1).text + get(page, 4).text
        assert "secret" not in said and "passwd" not in said  # no path is told


def test_folders_that_are_named_are_shown(stranger):
    with client_of(stranger, stranger.parent / "cache", media_roots=[stranger.parent / "media-evil"]) as page:
        codes = [get(page, row).status_code for row in range(5)]
        assert codes == [200, 200, 200, 200, 403]


def test_a_collection_that_calls_all_files_its_own_shows_none(stranger, monkeypatch):
    monkeypatch.setenv("HOME", str(stranger.parent / "media" / "home"))
    with client_of(stranger, stranger.parent / "cache") as page:
        assert get(page, 0).status_code == 403
    with client_of(stranger, stranger.parent / "cache", media_roots=[stranger.parent / "media"]) as page:
        assert [get(page, row).status_code for row in (0, 1)] == [200, 403]


def test_spans_of_one_file_have_posters_and_copies_of_their_own(made, tmp_path):
    film = Collection.open(made)[FILM]
    spans = [dataclasses.replace(film, id=str(at), start=at, end=at + 0.1, duration=0.1) for at in (0.0, 1.5, 700.0)]
    about = {"source": "s", "root": str(made.parent / "media"), "ignored": {}, "report": {}}
    write_tables(tmp_path, [*spans, dataclasses.replace(spans[2], id="z", flags=("rotated",))], [], about)
    with client_of(tmp_path, tmp_path / "cache") as page:
        assert len({get(page, row, "/poster").headers["etag"] for row in range(2)}) == 2
        assert [get(page, row, "/play").json()["seconds"] for row in (0, 2, 3)] == [0.1, 700.1, 600.0]


def test_a_cache_that_cannot_be_written_is_said(made, tmp_path):
    with client_of(made, tmp_path / "cache") as page:
        (tmp_path / "cache").rmdir()
        (tmp_path / "cache").write_text("no folder")
        answer = get(page, FILM, "/poster")
    assert (answer.status_code, "cache" in answer.json()["error"]) == (503, True)


def test_changed_and_removed_files(made, tmp_path):
    copied = tmp_path / "media"
    shutil.copytree(made.parent / "media", copied)
    shutil.copytree(made, tmp_path / "collection")
    about = json.loads((tmp_path / "collection" / "collection.json").read_text())
    (tmp_path / "collection" / "collection.json").write_text(json.dumps({**about, "root": str(copied)}))
    with client_of(tmp_path / "collection", tmp_path / "cache") as page:
        assert get(page, FILM, "/poster").status_code == 200
        with (copied / "a-film.mp4").open("ab") as file:
            file.write(b"more")
        assert [get(page, FILM, kind).status_code for kind in ("", "/poster", "/play")] == [409] * 3
        (copied / "a-film.mp4").unlink()
        assert get(page, FILM, "/poster").status_code == 404


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "ffconcat version 1.0\nfile /etc/passwd\n", "v=0\nm=video 1 RTP/AVP 96\n"],
)
def test_playlists_open_no_other_file(tmp_path, text):
    file = tmp_path / "film.mp4"
    file.write_text(text)
    with pytest.raises(MediaError, match="not-media"):
        looks.facts(file)


def test_the_cache_stays_within_its_size_and_copies_go_first(tmp_path):
    cache = Cache(tmp_path / "cache", 1000)
    kinds = ("poster", "proxy", "proxy", "peaks")
    for number, kind in enumerate(kinds):
        with cache.adding(str(number), kind) as aside:
            aside.write_bytes(b"x" * 300)
    gone = [cache.find(str(number), kind) is None for number, kind in enumerate(kinds)]
    assert gone == [False, True, False, False]
    with pytest.raises(RuntimeError), cache.adding("5", "poster") as aside:
        aside.write_bytes(b"half")
        raise RuntimeError
    assert not list((tmp_path / "cache").rglob("*.partial")) and cache.find("5", "poster") is None


@pytest.mark.slow  # processes are started
def test_a_decoder_that_dies_is_replaced(made, tmp_path):
    workers = Workers(1)
    film = {"kind": "poster", "path": str(made.parent / "media" / "a-film.mp4"), "second": 0.5, "flags": []}
    try:
        workers.do({**film, "out": str(tmp_path / "one")})
        workers._all[0]._process.kill()
        workers._all[0]._process.join()
        workers.do({**film, "out": str(tmp_path / "two")})
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        with pytest.raises(Exception, match="422"):
            workers.do({**film, "path": str(tmp_path / "none"), "out": str(tmp_path / "three")})
        still = {"kind": "picture", "path": str(made.parent / "media" / "d-photo.png"), "out": str(tmp_path / "four")}
        workers.do(still)  # with torch, within the memory that a decoder may take
        assert (tmp_path / "four").stat().st_size > 0
    finally:
        workers.close()


def test_everything_that_changes_needs_the_page(page):
    assert page.post("/api/rows", json={"c": page.c}).status_code == 403
    assert page.post("/api/rows", json={"c": page.c}, headers=PAGE).status_code == 200
