"""Names, links, pipes and folders that end a naive walk: each is indexed, quarantined or said."""

import os
import socket
import wave

import pytest

from coview.cli.main import main
from coview.data.adapters import Options
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.errors import UsageError


def sound(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(os.fsencode(path).decode("utf-8", "surrogateescape"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x10\x20" * 4000)
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    sound(folder / "good.wav")
    return folder


def refused(collection):
    return {row.path: row.reason for row in collection.quarantine()}


def test_names_that_are_not_utf_8_or_steer_a_terminal(folder, tmp_path, capsys):
    names = [b"latin\xe9.wav", b"back\\x41\xff.wav", b"esc\x1b[2J.wav", b"two\nlines.wav", b"\xe9/inside.wav"]
    for name in names:
        sound(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"half\xe9\x1b[2J.mp4")).write_bytes(b"no film")
    assert main(["index", str(folder), "-o", str(tmp_path / "c"), "--workers", "0", "--labels-from-folders"]) == 3
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and "half\\xe9" in shown.err
    collection = Collection.open(tmp_path / "c")
    found = {os.fsencode(collection.path(row).relative_to(folder.resolve())) for row in collection}
    assert found == {*names, b"good.wav"} and all(collection.path(row).is_file() for row in collection)
    assert {row.label for row in collection} == {None, "\\xe9"}
    assert index_source(str(folder), tmp_path / "d", workers=0).ids == collection.ids


def test_a_folder_whose_own_name_is_not_utf_8(tmp_path):
    folder, out = (tmp_path / os.fsdecode(name) for name in (b"in\xe9", b"out\xe9"))
    sound(folder / "a.wav")
    collection = index_source(str(folder), out, workers=0)
    assert collection.path(collection[0]).is_file() and Collection.open(out).ids == ["a.wav"]


def test_what_is_no_file_is_not_opened(folder, tmp_path):
    os.mkfifo(folder / "pipe.mp4")
    os.mkfifo(folder / "pipe without a known ending")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.wav"))
        (folder / "device.mp4").symlink_to("/dev/zero")
        (folder / "dead.mp4").symlink_to("nowhere.mp4")
        (folder / "circle.mp4").symlink_to("circle.mp4")
        sound(folder / "folder.mp4" / "inside.wav")
        collection = index_source(str(folder), tmp_path / "c", workers=0, options=Options(follow_links=True))
    assert collection.ids == ["folder.mp4/inside.wav", "good.wav"]
    assert refused(collection) == {
        "pipe.mp4": "not-media",
        "socket.wav": "not-media",
        "device.mp4": "not-media",
        "dead.mp4": "missing",
        "circle.mp4": "unreadable",
    }
    assert collection.about["ignored"] == {"no extension": 1}


def test_links_that_lead_out_are_followed_only_when_asked(folder, tmp_path):
    sound(tmp_path / "elsewhere" / "film.wav")
    (folder / "out.wav").symlink_to(tmp_path / "elsewhere" / "film.wav")
    (folder / "away").symlink_to(tmp_path / "elsewhere")
    (folder / "again.wav").symlink_to("good.wav")
    (folder / "up").symlink_to("..")
    collection = index_source(str(folder), tmp_path / "c", workers=0)
    assert collection.ids == ["again.wav", "good.wav"]
    assert collection.about["ignored"] == {"links out of the folder": 3}
    assert "3 links lead out" in collection.about["notes"][0] and "--follow-links" in collection.about["notes"][0]
    (folder / "up").unlink()
    followed = index_source(str(folder), tmp_path / "d", workers=0, options=Options(follow_links=True))
    assert followed.ids == ["again.wav", "away/film.wav", "good.wav", "out.wav"]
    assert not followed.about["ignored"]


def test_a_folder_of_nothing_but_links_out_says_so(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").symlink_to(sound(tmp_path / "a.wav"))
    with pytest.raises(UsageError, match="--follow-links"):
        index_source(str(tmp_path / "in"), tmp_path / "c")
    assert not (tmp_path / "c.partial").exists()


def test_a_folder_that_cannot_be_read_is_in_quarantine(folder, tmp_path, monkeypatch):
    sound(folder / "closed" / "a.wav")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    collection = index_source(str(folder), tmp_path / "c", workers=0)
    assert collection.ids == ["good.wav"] and refused(collection) == {"closed": "unreadable"}


def test_paths_in_a_manifest_that_can_be_no_name(folder, tmp_path):
    manifest = folder / "m.jsonl"
    manifest.write_text(
        '{"path": "good.wav"}\n{"path": "a\\u0000b.wav"}\n{"path": "\\ud800.wav"}\n{"path": "gone.wav"}\n'
    )
    collection = index_source(str(manifest), tmp_path / "c", workers=0)
    assert collection.ids == ["good.wav"]
    assert sorted(refused(collection).values()) == ["bad-name", "bad-name", "missing"]


def test_a_call_that_fails_leaves_nothing(folder, tmp_path):
    (folder / "empty").mkdir()
    manifest = folder / "m.csv"
    manifest.write_text("path,id\ngood.wav,a\ngood.wav,a\n")
    wrong = [str(folder / "empty"), str(folder / "none"), str(manifest), "tuxpaint-none", "digits-av:Q"]
    for source in wrong:
        with pytest.raises(UsageError):
            index_source(source, tmp_path / "new" / "c", workers=0)
        assert not (tmp_path / "new").exists(), source
