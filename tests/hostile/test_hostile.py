"""The short form of benchmarks/hostile.py: everything that is tried survives."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hostile.py"


@pytest.mark.hostile
@pytest.mark.parametrize("section", ["media", "artefacts", "names", "full-disk", "read-only"])
def test_all_survive(section, tmp_path):
    command = [sys.executable, str(SCRIPT), section, "--count", "1", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
