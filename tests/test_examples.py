"""The scripts of examples/ run as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAID = {
    "practitioner.py": "nearest to the sound of",
    "researcher.py": "class_p1_v2a/align-uniform",
    "correlation.py": "/cca",
}


def test_every_example_is_run():
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_an_example_runs(name, tmp_path):
    words = {"researcher.py": ["8"], "practitioner.py": ["digits-av:A", "4"]}.get(name, [])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_with(tmp_path),
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert SAID[name] in done.stdout


def _with(folder: Path) -> dict[str, str]:
    """Return the environment with a place for temporary files that is removed afterwards."""
    return {**os.environ, "TMPDIR": str(folder)}
