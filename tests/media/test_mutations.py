"""Damaged files by the hundred: every one is read, or refused by a MediaError; none hangs, crashes or takes memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def survive(folder, count, seed, seconds):
    command = [sys.executable, str(Path(__file__).with_name("mutations.py")), str(count), str(seed), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    last = done.stderr.strip().splitlines()[-3:]
    assert done.returncode == 0, f"the process died at {last}"
    found = json.loads(done.stdout)
    print(found)
    assert found["uncaught"] == []
    assert sum(found["tally"].values()) == count
    assert found["peak_mb"] < 1024
    assert min(found["tally"][word] for word in ("refused", "read")) > count / 10  # neither blind nor timid
    return found


def test_three_hundred_damaged_files(tmp_path):
    survive(tmp_path, 300, 1, 240)


@pytest.mark.slow
def test_three_thousand_damaged_files(tmp_path):
    survive(tmp_path, 3000, 2, 1200)
