"""What several processes must do together: let one of them act, and stop at the same step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from coview import parallel
from coview.errors import CoviewError, UsageError


def on_main(action: Callable[[], Any]) -> None:
    """Let process 0 act; where that fails, every process raises, so that none is left waiting."""
    problem: CoviewError | None = None
    if parallel.is_main():
        try:
            action()
        except CoviewError as error:
            problem = error
    failed = parallel.gather(torch.tensor([problem is not None], dtype=torch.uint8, device=collective_device()))
    if problem is not None:
        raise problem
    if bool(failed.any()):
        raise UsageError("process 0 stopped with an error; its message says why")


def collective_device() -> str:
    """Return where a collective's tensors must be: nccl carries nothing from the CPU."""
    nccl = torch.distributed.is_initialized() and torch.distributed.get_backend() == "nccl"
    return "cuda" if nccl else "cpu"


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Note SIGTERM and Ctrl-C in the list yielded; a second Ctrl-C stops at once."""
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(signum)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
