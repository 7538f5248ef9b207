"""One run in a folder, whatever happens to the disk below it, or to its readers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from coview.errors import CoviewError, UsageError
from coview.training import checkpoint, first_batch, keep, run
from coview.training.loop import train
from coview.training.run import read_lines


def go(out: Path, source=None, **options) -> Path:
    return train(tiny.settings(), out, source=source or tiny.TinySource(), quiet=True, **options)


def same_log(folder: Path) -> bool:
    return (folder / "run" / "metrics.jsonl").read_bytes() == (folder / "whole" / "metrics.jsonl").read_bytes()


HOLDER = """
import sys
from pathlib import Path
from coview.files import locked
with locked(Path(sys.argv[1]), "pretrain"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
def test_two_runs_in_one_folder_are_refused_with_the_name_of_the_first(tmp_path, options):
    go(tmp_path / "run")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"process {other.pid} .*pretrain, since"):
            go(tmp_path / "run", **options)
        other.communicate("")
    go(tmp_path / "run", **options)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def full(*arguments, **named):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("module", "name"),
    [(run, "write_aside"), (first_batch, "_write_png"), (checkpoint, "write_aside"), (keep, "write_aside")],
)
def test_a_full_disk_at_any_write_is_a_sentence_and_the_run_goes_on_later(tmp_path, monkeypatch, module, name):
    go(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(module, name, full)
        with pytest.raises(CoviewError, match=r"No space left on device.*make room"):
            go(tmp_path / "run")
    go(tmp_path / "run", resume=True)
    assert same_log(tmp_path)
    assert (tmp_path / "run" / "summary.json").exists() and (tmp_path / "run" / "samples" / "left.png").exists()


class Full:
    """A file on a disk that is full in the middle of the next line."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        self.stream.write(text[:9])
        self.stream.flush()
        full()


def test_a_full_disk_between_two_lines_of_the_log(tmp_path, monkeypatch):
    go(tmp_path / "whole")
    real = run.Lines.write

    def write(self, step, values):
        if step == 6 and "loss" in values:
            self.stream = Full(self.stream)
        real(self, step, values)

    with monkeypatch.context() as patched:
        patched.setattr(run.Lines, "write", write)
        with pytest.raises(CoviewError, match=r"metrics.jsonl: cannot be written .*--resume"):
            go(tmp_path / "run")
    go(tmp_path / "run", resume=True)
    assert same_log(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_closed_folder_is_a_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(CoviewError, match="cannot be written"):
        go(tmp_path / "run")
    tmp_path.chmod(0o700)


class Dies(tiny.TinySource):
    """The process that reads is killed, after `at` steps of the run, until it has been killed so often."""

    def __init__(self, folder: Path, times: int, at: int = 9) -> None:
        super().__init__()
        self.folder, self.times, self.at, self.main = folder, times, at, os.getpid()

    def read(self, row, key):
        deaths, log = len(list(self.folder.glob("death-*"))), self.folder / "run" / "metrics.jsonl"
        steps = len(log.read_bytes().splitlines()) if log.exists() else 0
        if os.getpid() != self.main and deaths < self.times and steps >= self.at:
            (self.folder / f"death-{deaths}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(row, key)


@pytest.mark.slow
def test_a_killed_reader_is_replaced_once_and_then_the_run_is_saved(tmp_path):
    one = tiny.settings(workers=1, epochs=6)
    train(tiny.settings(epochs=6), tmp_path / "whole", source=tiny.TinySource(), quiet=True)
    train(one, tmp_path / "run", source=Dies(tmp_path, 1), quiet=True)
    assert len(list(tmp_path.glob("death-*"))) == 1 and same_log(tmp_path)
    for death in tmp_path.glob("death-*"):
        death.unlink()
    with pytest.raises(CoviewError, match=r"reading processes were killed twice at step \d+ \(worker \(pid\(s\) \d+\)"):
        train(one, tmp_path / "run", source=Dies(tmp_path, 2), quiet=True, overwrite=True)
    done = read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"]
    saved = checkpoint.last(tmp_path / "run" / "checkpoints")
    assert saved is not None and checkpoint.load(saved).step == done
    train(one, tmp_path / "run", source=tiny.TinySource(), quiet=True, resume=True)
    assert same_log(tmp_path)


class Gone(tiny.TinySource):
    reads = 0

    def read(self, row, key):
        self.reads += 1
        if self.reads == 5 + 7:
            raise UsageError("the disk is gone")
        return super().read(row, key)


def test_what_cannot_be_read_ends_the_run_after_saving(tmp_path):
    go(tmp_path / "whole")
    with pytest.raises(UsageError, match="the disk is gone"):
        go(tmp_path / "run", Gone())
    saved = checkpoint.last(tmp_path / "run" / "checkpoints")
    assert saved is not None and checkpoint.load(saved).step == 6
    go(tmp_path / "run", resume=True)
    assert same_log(tmp_path)
