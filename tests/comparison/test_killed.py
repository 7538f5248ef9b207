"""A comparison that is killed at any moment goes on to the same table, and does nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def words(folder: Path) -> list[str]:
    words = ["compare", "xid", "--data", "digits-av:A", "--tiny", "--preset", "digits", "--samples", "128"]
    words += ["--seeds", "2", "--no-supervised", "--recordings", "64", "--orders", "xid>random", "-o", str(folder)]
    return [sys.executable, "-m", "coview", *words, "--json"]


@pytest.mark.hostile
def test_a_killed_comparison_ends_as_one_that_was_not(tmp_path: Path) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    begun = time.monotonic()
    whole = subprocess.run(words(tmp_path / "whole"), env=env, capture_output=True, check=False)
    assert whole.returncode in (0, 3), whole.stderr.decode()[-2000:]
    took = time.monotonic() - begun
    quiet = subprocess.DEVNULL
    for share in (0.15, 0.35, 0.55, 0.75):
        process = subprocess.Popen(words(tmp_path / "killed"), env=env, stdout=quiet, stderr=quiet)
        time.sleep(share * took)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = subprocess.run(words(tmp_path / "killed"), env=env, capture_output=True, check=False)
    assert again.returncode == whole.returncode, again.stderr.decode()[-2000:]
    assert json.loads(again.stdout) == json.loads(whole.stdout)
    for file in sorted((tmp_path / "whole").rglob("items.safetensors")):
        assert file.read_bytes() == (tmp_path / "killed" / file.relative_to(tmp_path / "whole")).read_bytes()
    assert (tmp_path / "killed" / "compare.md").is_file()
