"""How reading processes are started."""

from __future__ import annotations

import ast
import ctypes
import multiprocessing
import sys
from multiprocessing.context import BaseContext
from pathlib import Path

from coview.errors import UsageError

_MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD
_LARGE = 2**23  # bytes


def fresh_processes() -> BaseContext:
    """Return a context whose processes inherit nothing that has run here.

    Never a plain fork: forking after decoding has been seen to hang, and CUDA forbids it.

    Raises:
        UsageError: the script that is being run would run again in each of them.
    """
    if (line := _unguarded()) is not None:
        raise UsageError(
            f"{line}: reading processes import this file again, and would do again what it does here; put it under "
            '`if __name__ == "__main__":`'
        )
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["coview.data.media_source"])  # torch is imported once, not once per process
    return context


def _unguarded() -> str | None:
    """Return FILE:LINE of the script's own statement that has led here, if it runs whenever the file is imported."""
    script = sys.modules["__main__"]
    frame = sys._getframe()
    while frame is not None and not (frame.f_globals is vars(script) and frame.f_code.co_name == "<module>"):
        frame = frame.f_back  # type: ignore[assignment]
    file = getattr(script, "__file__", None)  # a notebook has none, and is not imported again
    if frame is None or file is None:
        return None
    try:
        statements = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return None  # an archive, or no Python
    for statement in statements:
        if statement.lineno <= frame.f_lineno <= (statement.end_lineno or statement.lineno):
            names = ast.walk(statement.test) if isinstance(statement, ast.If) else iter(())
            asks = any(isinstance(name, ast.Name) and name.id == "__name__" for name in names)
            return None if asks else f"{file}:{frame.f_lineno}"
    return None


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
