"""How reading processes are started."""

from __future__ import annotations

import ctypes
import multiprocessing
import sys
from multiprocessing.context import BaseContext

_MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD
_LARGE = 2**23  # bytes


def fresh_processes() -> BaseContext:
    """Return a context whose processes inherit nothing that has run here.

    Never a plain fork: forking after decoding has been seen to hang, and CUDA forbids it.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["coview.data.media_source"])  # torch is imported once, not once per process
    return context


def give_memory_back() -> None:
    """Let this process return large blocks to the system as soon as they are freed.

    glibc keeps blocks of up to 32 MB once one of them has been freed, and small ones that stay lie between: a reading
    process grew by 13 MB at a time, to 632 MB at its peak after 7,700 samples, and stays at 587 MB with this
    (`benchmarks/prepared.py --leak`). Smaller blocks cost time: batches of 3 MB take 15 % more if returned too.
    Does nothing where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
