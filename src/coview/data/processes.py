"""How reading processes are started."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext


def fresh_processes() -> BaseContext:
    """Return a context whose processes inherit nothing that has run here.

    Never a plain fork: forking after decoding has been seen to hang, and CUDA forbids it.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["coview.data.media_source"])  # torch is imported once, not once per process
    return context
