"""Runs that are ended from outside or by one of their processes, with the real thing: a method of the library."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coview.training import checkpoint
from coview.training.run import read_lines

pytestmark = pytest.mark.slow

DRIVER = """
import sys, time
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from coview.data.augment import PRESETS
from coview.data.synthetic.digits import DigitsWorld
from coview.errors import CoviewError, DataProblemsError
from coview.methods.xid import HardNegatives, XIDSettings
from coview.parallel import rank
from coview.training.loop import train
from coview.training.settings import OptimiserSettings, RunSettings, TrainSettings
hard = HardNegatives(start_epoch=1, nearest=8, between=6, towards=4)
method = replace(XIDSettings.tiny(), negatives=8, hard=hard)
views = dict(video=method.video, audio=method.audio)
settings = RunSettings(
    method="xid", method_settings=method, collection="digits-av:A", augment=PRESETS["digits"],
    train=TrainSettings(steps={steps}, batch_size=8, checkpoint_every=5, watch_every=4, device="cpu", workers=0),
    optimiser=OptimiserSettings(lr=1e-3),
)
class Source(DigitsWorld):
    reads = 0
    def read(self, row, key):
        time.sleep({sleep})
        self.reads += 1
        if rank() == 1 and self.reads == {broken}:
            raise DataProblemsError("the disk of process 1 is gone")
        return super().read(row, key)
try:
    train(settings, Path({out!r}), resume={resume}, source=Source(count=48, views=views), quiet=True)
except CoviewError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def driver(folder: Path, name: str, *, steps=30, resume=False, sleep=0.0, broken=-1) -> Path:
    path = folder / f"{name}.py"
    path.write_text(DRIVER.format(**locals(), out=str(folder / name)))
    return path


@pytest.fixture
def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def wait_for(log: Path, lines: int, process: subprocess.Popen) -> None:
    """Wait until a run that goes on has written so many steps."""
    while process.poll() is None and (not log.exists() or len(log.read_bytes().splitlines()) < lines):
        time.sleep(0.005)
    assert process.poll() is None


def two_processes(script: Path, port: int) -> list[subprocess.Popen]:
    """Start two processes as srun does, without an agent above them."""
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen([sys.executable, str(script)], env={**common, "RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]


def test_xid_killed_at_two_moments_resumes_to_the_bit(tmp_path):
    assert subprocess.run([sys.executable, str(driver(tmp_path, "whole"))], timeout=120).returncode == 0
    script = driver(tmp_path, "killed", resume=True, sleep=0.03)
    moments, log = random.Random(7), tmp_path / "killed" / "metrics.jsonl"
    for kill in range(2):
        process = subprocess.Popen([sys.executable, str(script)])
        wait_for(log, kill * 12 + moments.randrange(1, 6), process)
        time.sleep(moments.random() * 0.05)
        process.kill()
        process.wait()
    assert subprocess.run([sys.executable, str(script)], timeout=120).returncode == 0
    assert log.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert read_lines(log)[-1]["step"] == 30 and "std/video" in read_lines(log)[-1]


def test_sigterm_to_one_of_two_processes_saves_and_ends_both_with_143(tmp_path, free_port):
    script = driver(tmp_path, "run", steps=400, resume=True, sleep=0.05)
    processes = two_processes(script, free_port)
    wait_for(tmp_path / "run" / "metrics.jsonl", 7, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [143, 143]
    saved = checkpoint.last(tmp_path / "run" / "checkpoints")
    done = read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"]
    assert saved is not None and checkpoint.load(saved).step == done >= 7


def test_sigterm_to_torchrun_saves(tmp_path):
    script = driver(tmp_path, "run", steps=400, resume=True, sleep=0.05)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    process = subprocess.Popen(launch, stderr=subprocess.PIPE)
    wait_for(tmp_path / "run" / "metrics.jsonl", 7, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    saved = checkpoint.last(tmp_path / "run" / "checkpoints")
    done = read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["step"]
    assert process.returncode != 0
    assert saved is not None and checkpoint.load(saved).step == done >= 7


def test_an_error_of_one_process_ends_all_with_its_message_at_once(tmp_path):
    script = driver(tmp_path, "run", steps=400, broken=9)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    process = subprocess.Popen(launch, stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "run" / "metrics.jsonl", 6, process)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert process.returncode != 0
    assert "the disk of process 1 is gone" in said
