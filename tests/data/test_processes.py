"""Memory of reading processes."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Blocks of 12 MB, each before a smaller one that stays, are freed after a still larger one was.
_SCRIPT = """
import sys
import numpy as np
from coview.data.processes import give_memory_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

if sys.argv[1] == "give back":
    give_memory_back()
np.ones(30_000_000, np.uint8)
before, small = resident(), []
large = []
for _ in range(10):
    large.append(np.ones(12_000_000, np.uint8))
    small.append(np.ones(600_000, np.uint8))
large.clear()
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps large blocks")
def test_large_blocks_are_returned_to_the_system():
    kept = {
        what: float(
            subprocess.run([sys.executable, "-c", _SCRIPT, what], capture_output=True, text=True, check=True).stdout
        )
        for what in ("give back", "as it is")
    }
    assert kept["give back"] < 10  # megabytes
    assert kept["as it is"] > 60  # or the call would not be needed
