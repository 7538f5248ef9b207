"""The last net: whatever a verb raises is one sentence and an exit code, with the details in a file."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from safetensors import SafetensorError

from coview.cli import main as cli
from coview.cli import methods
from coview.errors import CoviewError


@pytest.fixture
def fails(monkeypatch, capsys, tmp_path):
    """Return a function: what a verb that raises this prints, and its exit code."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(error):
        def fail(argv):
            raise error

        monkeypatch.setattr(methods, "main", fail)
        code = cli.main(["methods"])
        said = capsys.readouterr()
        assert said.out == ""
        return code, said.err

    return run


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space", "/data/a"), "/data/a: No space left on device: the disk is full"),
        (OSError(errno.EROFS, "read-only", b"/data/a"), "/data/a: Read-only file system: the disk can only be read"),
        (PermissionError(errno.EACCES, "denied", "/a\x1b[2J"), r"/a\x1b[2J: Permission denied: this account may not"),
        (FileNotFoundError(errno.ENOENT, "gone", "a.mp4"), "a.mp4: No such file or directory: there is no such file"),
        (NotADirectoryError(errno.ENOTDIR, "no", "a/b"), "a/b: Not a directory: a part of this path is a file"),
        (OSError(errno.EIO, "failed"), "Input/output error: the disk or network drive failed"),
        (OSError(errno.ENODATA, "none", "x"), "x: No data available: the operating system refused it"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "No space left on device: the disk is"),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space"), "No space left on device"),
        (MemoryError(), "there is not enough memory; use a smaller batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "there is not enough memory"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(fails, error, sentence):
    code, said = fails(error)
    assert code == 1 and said.count("\n") == 1
    assert said.startswith(f"coview methods: {sentence}")


def test_a_refusal_counts_where_it_is_the_cause_and_not_where_it_was_dealt_with(fails):
    refusal = OSError(errno.ENOSPC, "full", "a")
    wrapped = RuntimeError("cannot save")
    wrapped.__cause__ = refusal
    assert fails(wrapped)[1].startswith("coview methods: a: No space left on device")
    later = TypeError("a fault of ours")
    later.__context__ = refusal
    assert "TypeError: a fault of ours" in fails(later)[1]


class Panic(BaseException):
    """What libraries written in Rust raise when they give up: no Exception."""


@pytest.mark.parametrize("error", [TypeError("boom\nmore"), RecursionError(), Panic("gave up"), KeyError("\x1b[2J")])
def test_anything_else_is_one_sentence_with_the_details_in_a_file(fails, error, tmp_path):
    code, said = fails(error)
    assert code == 1 and said.count("\n") == 1 and "Traceback" not in said and "\x1b" not in said
    assert f"did not expect ({type(error).__name__}: " in said
    where = Path(said.rsplit(" in ", 1)[1].strip())
    assert where.parent == tmp_path and "Traceback (most recent call last)" in where.read_text()


def test_where_no_details_can_be_kept_it_says_how_to_see_them(fails, tmp_path, monkeypatch):
    tmp_path.rmdir()
    code, said = fails(TypeError("boom"))
    assert code == 1 and "COVIEW_TRACEBACK=1" in said
    monkeypatch.setenv("COVIEW_TRACEBACK", "1")
    code, said = fails(CoviewError("mend this"))
    assert code == 1 and "Traceback (most recent call last)" in said and said.endswith("coview methods: mend this\n")


def run_help(**channels):
    command = [sys.executable, "-m", "coview", "--help"]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **channels)


def test_a_full_disk_under_stdout_is_said():
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full, a disk that is always full")
    with Path("/dev/full").open("w") as full:
        done = run_help(stdout=full)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("coview --help: No space left on device")


def test_a_reader_that_leaves_is_no_failure_to_speak_of():
    reading, writing = os.pipe()
    os.close(reading)
    done = run_help(stdout=writing)
    os.close(writing)
    assert done.returncode == 1 and done.stderr == ""


def test_a_terminal_that_cannot_write_a_letter_shows_its_number():
    done = subprocess.run(
        [sys.executable, "-m", "coview", "préparer"], capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
    )  # fmt: skip
    assert done.returncode == 2 and b"pr\\xe9parer" in done.stderr and b"Traceback" not in done.stderr
