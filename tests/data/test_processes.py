"""A script that reading processes would run again is told so before anything is started."""

import subprocess
import sys

import pytest

START = "from coview.data.processes import fresh_processes\n"


@pytest.mark.parametrize(
    ("script", "works"),
    [
        ("fresh_processes()\n", False),
        ("def begin():\n    fresh_processes()\n\n\nbegin()\n", False),
        ("import sys\nif len(sys.argv) == 1:\n    fresh_processes()\n", False),
        ("if __name__ == '__main__':\n    fresh_processes()\n", True),
        ("def begin():\n    fresh_processes()\n\n\nif '__main__' == __name__:\n    begin()\n", True),
    ],
)
def test_a_script_that_would_run_again_is_named(tmp_path, script, works):
    file = tmp_path / "script.py"
    file.write_text(START + script)
    done = subprocess.run([sys.executable, file], capture_output=True, text=True)
    assert (done.returncode == 0) == works
    if not works:
        line = START.count("\n") + script.rstrip().count("\n") + 1
        assert f"{file}:{line}: reading processes import this file again" in done.stderr


def test_what_is_typed_has_no_file_to_be_run_again():
    subprocess.run([sys.executable, "-c", START + "fresh_processes()"], check=True)
