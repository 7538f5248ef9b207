"""Files that are whole or absent, locks, limits of what is read, and names that may go to a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from coview import files
from coview.errors import UsageError

HOLD = """
import sys, time, pathlib
from coview.files import locked
with locked(pathlib.Path(sys.argv[1]), "index"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "card.json"
    files.write_aside(target, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_aside(target, "\udce9")
    with pytest.raises(RuntimeError), files.written_whole(target) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_no_two_writers_share_a_name(tmp_path):
    names = set()
    for _ in range(20):
        with files.written_whole(tmp_path / "card.json") as aside:
            assert files.is_leftover(aside)
            aside.write_text("new")
            names.add(aside.name)
    assert len(names) == 20


def test_file_and_folder_are_on_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files, "synced", lambda path: done.append((path.name, (tmp_path / "card.json").exists())))
    files.write_aside(tmp_path / "card.json", "new")
    assert [exists for _, exists in done] == [False, True] and done[1][0] == tmp_path.name


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_second_holder_is_told_who_the_first_is_and_a_killed_one_lets_go(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        told = pytest.raises(UsageError, match=rf"process {holder.pid} on .*: index, since \d{{4}}-")
        with told, files.locked(tmp_path, "prepare"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with files.locked(tmp_path, "prepare"):
        assert (tmp_path / ".lock").is_file() and files.is_leftover(tmp_path / ".lock")
    assert not (tmp_path / ".lock").exists()


def test_a_lock_goes_with_its_folder(tmp_path):
    (tmp_path / "a").mkdir()
    with files.locked(tmp_path / "a", "index"):
        (tmp_path / "a").rename(tmp_path / "b")
    assert not list((tmp_path / "b").iterdir())


def test_a_lock_follows_no_link(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), files.locked(tmp_path / "a", "index"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "Expecting"),
        (b"[1]", "no JSON object"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "deeper than 100 levels"),
        (b'{"a":' * 100_000, "deeper than 100 levels"),
        (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
        (b'{"a": "' + b" " * 4000 + b'"}', "at most 2000 are read"),
    ],
)
def test_json_that_is_not_ours_is_one_sentence(tmp_path, text, why):
    path = tmp_path / "card.json"
    path.write_bytes(text)
    limit = 2000 if "2000" in why else 1 << 20
    with pytest.raises(UsageError, match=why) as caught:
        files.read_json(path, "a card", remedy="make it again", limit=limit)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value) and "make it again" in str(caught.value)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, why in (("pipe", "no regular file"), ("folder", "no regular file"), ("none", "not there")):
        with pytest.raises(UsageError, match=why):
            files.read_json(tmp_path / name, "a card")


def test_yaml(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("a: &x [1, 2]\nb: *x\n")
    assert files.read_yaml(path, "settings") == {"a": [1, 2], "b": [1, 2]}
    path.write_text("")
    assert files.read_yaml(path, "settings") == {}


@pytest.mark.parametrize("merge", [False, True])
def test_a_yaml_bomb_is_refused_at_once(tmp_path, merge):
    lines = ["l0: &l0 {x0: 1, y0: 2}"] if merge else ["l0: &l0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for k in range(1, 11):
        many = ", ".join([f"*l{k - 1}"] * 10)
        lines.append(f"l{k}: &l{k} {{<<: [{many}]}}" if merge else f"l{k}: &l{k} [{many}]")
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    begin = time.process_time()
    with pytest.raises(UsageError, match="aliases stand for more than"):
        files.read_yaml(tmp_path / "bomb.yaml", "settings")
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "text", ["- 1", "a: [", "a: &a [*a]", "a: 2001-99-99", "!!python/object:os.system {}", "[" * 5000, "? [1]: 2"]
)
def test_yaml_that_is_not_ours_is_one_sentence(tmp_path, text):
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(UsageError, match="cannot be read as settings") as caught:
        files.read_yaml(tmp_path / "settings.yaml", "settings")
    assert "\n" not in str(caught.value)


def test_tensors_with_several_names_come_back(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    files.write_tensors({"a": weight, "b": weight, "empty": torch.zeros(0)}, tmp_path / "m.safetensors")
    found = files.read_tensors(tmp_path / "m.safetensors")
    assert set(found) == {"a", "b", "empty"} and found["a"].equal(weight) and found["b"].equal(weight)


@pytest.mark.parametrize("read", [files.sha256_of, files.read_tensors])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "weights")
    with pytest.raises(OSError, match="no regular file"):
        read(tmp_path / "weights")
