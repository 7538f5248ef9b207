"""The demo's promise about memory is measured over all of its processes, and what they share is counted once."""

import subprocess
import sys
import time

import pytest

from coview.cli.memory import PeakMemory, held_together

MEGABYTE = 10**6
HOLD = "import sys; held = b'x' * int(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
PASS_ON = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"

pytestmark = pytest.mark.skipif(not held_together(), reason="this system does not tell proportional set sizes")


def start(*words):
    process = subprocess.Popen([sys.executable, "-c", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process


def end(process):
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("words", [(HOLD, "150000000"), (PASS_ON, HOLD, "150000000")], ids=["child", "grandchild"])
def test_what_descendants_hold_is_counted(words):
    before = held_together()
    process = start(*words)
    grown = held_together() - before
    end(process)
    assert 140 * MEGABYTE < grown < 220 * MEGABYTE
    assert held_together() < before + 50 * MEGABYTE


def test_a_shared_file_is_counted_once(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100 * MEGABYTE)
    shared = (
        "import mmap, sys; file = open(sys.argv[1], 'rb'); m = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); "
        "sum(m[::4096]); print('ready', flush=True); sys.stdin.read()"
    )
    before = held_together()
    processes = [start(shared, str(tmp_path / "file")) for _ in range(3)]
    grown = held_together() - before
    for process in processes:
        end(process)
    assert 95 * MEGABYTE < grown < 180 * MEGABYTE


def test_the_peak_is_kept_after_it_has_passed():
    with PeakMemory(1) as memory:
        before = held_together() / 1e9
        process = start(HOLD, "200000000")
        until = time.monotonic() + 20
        while memory.gigabytes < before + 0.19 and time.monotonic() < until:
            time.sleep(0.1)
        end(process)
    assert memory.measure == "proportional set sizes"
    assert before + 0.19 < memory.gigabytes < before + 0.3
