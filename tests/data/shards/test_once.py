"""Files that one of many processes writes while the others wait."""

import os
import shutil
import signal

import pytest

from coview.data.shards.once import written_once


def test_a_writer_that_is_killed_leaves_nothing_that_counts(tmp_path):
    path = tmp_path / "folder" / "clip.tar"
    child = os.fork()
    if not child:
        with written_once(path) as stream:
            stream.write(b"half")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert [one.name for one in path.parent.iterdir()] == [".clip.tar.partial"]
    with written_once(path) as stream:
        stream.write(b"all")
    assert path.read_bytes() == b"all" and list(path.parent.iterdir()) == [path]
    with written_once(path) as stream:
        assert stream is None


def test_one_waits_for_another_and_not_for_ever(tmp_path):
    path = tmp_path / "clip.tar"
    with written_once(path) as stream:
        with pytest.raises(TimeoutError, match="another process"), written_once(path, patience=0.05):
            pass
        stream.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_folder_that_is_removed_under_a_writer_costs_one_clip_and_names_no_half(tmp_path):
    path = tmp_path / "folder" / "clip.tar"
    with pytest.raises(FileNotFoundError, match="was removed while"), written_once(path):
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        aside = path.with_name(".clip.tar.partial")
        aside.write_bytes(b"half of another's")
    assert not path.exists() and aside.exists()
