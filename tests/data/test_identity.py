"""Files are told from others of the same name; every name of a file survives as text."""

import os
from pathlib import Path

import pytest

from coview.data import identity
from coview.errors import MediaError
from coview.files import sha256_of


def facts(path):
    now = path.stat()
    return {"size": now.st_size, "modified": now.st_mtime_ns, "digest": sha256_of(path)}


def test_a_file_is_known_again_wherever_its_clock_stands(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")
    then = facts(path)
    identity.check(path, **then)
    os.utime(path, ns=(1, 1))  # copied, unpacked: another time, the same bytes
    identity.check(path, **then)
    identity.check(path, size=4)  # an older collection, which knows only sizes


@pytest.mark.parametrize("contents", [b"another", b"mlif", b""])
def test_another_file_of_the_same_name_is_changed(tmp_path, contents):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"film")
    then = facts(path)
    path.write_bytes(contents)
    os.utime(path, ns=(2, 2))
    with pytest.raises(MediaError) as caught:
        identity.check(path, **then)
    assert caught.value.reason == "changed"
    path.write_bytes(b"film")
    identity.check(path, **then)


@pytest.mark.parametrize("name", ["gone.mp4", "a\0b.mp4", "a.mp4/inside"])
def test_a_missing_file_is_gone(tmp_path, name):
    (tmp_path / "a.mp4").write_bytes(b"film")
    with pytest.raises(MediaError) as caught:
        identity.check(tmp_path / name, size=4)
    assert caught.value.reason == "gone"


def test_what_is_no_file_any_more_is_changed(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    os.mkfifo(tmp_path / "b.mp4")
    for name in "ab":
        with pytest.raises(MediaError) as caught:
            identity.check(tmp_path / f"{name}.mp4", size=(tmp_path / f"{name}.mp4").stat().st_size)
        assert caught.value.reason == "changed"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"film.mp4", "film.mp4"),
        (b"back\\xe9slash.mp4", "back\\xe9slash.mp4"),
        ("\N{SNOWMAN}.mp4".encode(), "\N{SNOWMAN}.mp4"),
        (b"latin\xe9.mp4", "./latin\\xe9.mp4"),
        (b"back\\slash\xe9\xff.mp4", "./back\\\\slash\\xe9\\xff.mp4"),
        (b"/data/\xe9/film.mp4", "/./data/\\xe9/film.mp4"),
        (b"\xe9\xc3\xa9\\x41", "./\\xe9\N{LATIN SMALL LETTER E WITH ACUTE}\\\\x41"),
    ],
)
def test_names_survive(name, kept):
    path = Path(os.fsdecode(name))
    assert identity.kept_name(path) == kept
    assert os.fsencode(identity.real_path(kept)) == name


def test_every_byte_survives():
    name = bytes(range(1, 256)).replace(b"/", b"")
    assert os.fsencode(identity.real_path(identity.kept_name(Path(os.fsdecode(name))))) == name
