"""Tasks in processes of their own, of which one may die or hang: it costs its own task, and nobody waits for it."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Literal, TypeVar

import torch

from coview.data.processes import fresh_processes
from coview.errors import CoviewError

_START = 300.0  # seconds that a process may need to begin
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """What is left of a task whose process died or hung.

    Attributes:
        reason: "crash" or "timeout".
        at: what `working_on` was last told, None where it was not.
    """

    reason: Literal["crash", "timeout"]
    at: Any = None


def watched(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int, patience: Callable[[Task], float]
) -> Iterator[tuple[Task, Result | Lost]]:
    """Yield (task, what `work` makes of it) in the order in which they are done.

    A task whose process died is tried once more when all others are done, alone: what lacked may have been memory. One
    that hung is not.

    Args:
        work: a function at the top level of a module.
        tasks: picklable values; taken one by one as processes become free.
        patience: how many seconds a task may go on without a sign of life, its end or `working_on`.

    Raises:
        BaseException: whatever the work raises.
    """
    died: list[Task] = []
    for task, outcome in _watched(work, iter(tasks), workers, patience):
        if isinstance(outcome, Lost) and outcome.reason == "crash":
            died.append(task)
        else:
            yield task, outcome
    yield from _watched(work, iter(died), 1, patience)


def working_on(what: Any) -> None:
    """Say that a task goes on, and on what: its patience begins anew. Does nothing outside of `watched`."""
    if _to_caller is not None:
        _to_caller.send(("at", what))


@dataclass
class _Hand(Generic[Task]):
    """A process and what it has been given."""

    process: BaseProcess
    pipe: Connection
    tasks: list[Task] = field(default_factory=list)  # none or one
    at: Any = None
    until: float = 0.0

    def give(self, task: Task, patience: float) -> None:
        self.tasks, self.at, self.until = [task], None, time.monotonic() + patience + _START
        with contextlib.suppress(OSError):  # it has died already; its end of the pipe tells so
            self.pipe.send(task)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _watched(
    work: Callable[[Task], Result], waiting: Iterator[Task], workers: int, patience: Callable[[Task], float]
) -> Iterator[tuple[Task, Result | Lost]]:
    context = fresh_processes()
    here, there = context.Pipe()  # never written to: its end tells the processes that nobody waits for them
    hands: list[_Hand[Task]] = []
    free: list[_Hand[Task]] = []
    try:
        while True:
            while (free or len(hands) < workers) and (task := next(waiting, None)) is not None:
                if not free:
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_serve, args=(work, theirs, there), daemon=True)  # type: ignore[attr-defined]
                    process.start()
                    theirs.close()
                    free.append(_Hand(process, ours))
                    hands.append(free[-1])
                free.pop().give(task, patience(task))
            busy = [hand for hand in hands if hand.tasks]
            if not busy:
                return
            soonest = min(hand.until for hand in busy)
            ready = wait([hand.pipe for hand in busy], max(0.0, min(soonest - time.monotonic(), 1e6)))
            for hand in busy:
                outcome: Result | Lost
                if hand.pipe in ready:
                    try:
                        kind, value = hand.pipe.recv()
                    except (EOFError, OSError):
                        outcome = Lost("crash", hand.at)
                    else:
                        if kind == "at":
                            hand.at, hand.until = value, time.monotonic() + patience(hand.tasks[0])
                            continue
                        if kind == "raised":
                            raise value
                        outcome = value
                        free.append(hand)
                elif time.monotonic() >= hand.until:
                    outcome = Lost("timeout", hand.at)
                else:
                    continue
                [task], hand.tasks = hand.tasks, []
                if isinstance(outcome, Lost):
                    hand.end()
                    hands.remove(hand)
                yield task, outcome
    finally:
        for hand in hands:  # what is begun can be done again
            hand.end()
        here.close()
        there.close()


_to_caller: Connection | None = None  # in a process of `watched`


def _serve(work: Callable[[Any], Any], pipe: Connection, caller: Connection) -> None:
    global _to_caller
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the caller
    torch.set_num_threads(1)
    _to_caller = pipe
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(("at", None))
        try:
            answer: tuple[str, Any] = ("done", work(task))
        except BaseException as error:
            answer = ("raised", _sendable(error))
        pipe.send(answer)


def _sendable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))  # ours, and made here
    except Exception:
        return CoviewError(f"{type(error).__name__}: {error}")
    return error


def _end_with(caller: Connection) -> None:
    """End this process as soon as the one that gave the work is gone or has lost interest."""
    caller.poll(None)
    os._exit(1)
