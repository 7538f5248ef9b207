"""Executors: where many tasks, each of which can be done again without harm, are done.

A task is a plain picklable value and the work a function of it at the top level of a module. Executors keep no state of
their own: work looks whether its result is there already, writes it aside and renames it. So a stopped call goes on
where it was, any task can be done again, and several machines need to share nothing but a folder.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, Protocol, TypeVar

import torch

from coview.data.processes import fresh_processes
from coview.errors import CoviewError, UsageError
from coview.parallel import rank, world_size

Task = TypeVar("Task")
Result = TypeVar("Result")
Name = Literal["auto", "serial", "processes", "ranks", "ray"]


class Executor(Protocol):
    """Does tasks."""

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield what `work` makes of each task that is this process's to see, in the order in which they are done.

        Raises:
            CoviewError: whatever the work raises; tasks not yet begun are left out.
        """
        ...


class Serial:
    """One task after the other, here."""

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor.run`."""
        yield from map(work, tasks)


@dataclass(frozen=True)
class Processes:
    """Processes of this computer that inherit nothing; None means one per core that this process may use."""

    workers: int | None = None

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor.run`."""
        count = min(self.workers or len(os.sched_getaffinity(0)), len(tasks))
        if count == 0:
            return
        context = fresh_processes()
        here, there = context.Pipe()  # never written to: its end tells the workers that nobody waits for them
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker, initargs=(there,))
        waiting, running = iter(tasks), set[Future[Result]]()
        try:
            while True:
                # A short queue: what is stopped is stopped soon.
                while len(running) < 2 * count and (task := next(waiting, None)) is not None:
                    running.add(pool.submit(work, task))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise CoviewError(
                "a working process was lost (out of memory, or a decoder that crashed); what is finished is kept, and "
                "the same command goes on from here; fewer --workers need less memory"
            ) from error
        finally:
            if running:  # interrupted, or an error: what is begun may take long, and can be done again
                here.close()
            pool.shutdown(cancel_futures=True)


class Ranks:
    """Every process of torchrun or srun does its share, one task after the other, and sees its own results alone."""

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor.run`."""
        yield from map(work, tasks[rank() :: world_size()])


@dataclass(frozen=True)
class Ray:
    """Ray tasks, on the cluster that RAY_ADDRESS names or else on this computer; folders must be shared by all.

    Ray's dashboard lets anyone who reaches it run programs, so a local cluster is started without it.
    """

    workers: int | None = None

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Executor.run`.

        Raises:
            UsageError: Ray is not installed.
        """
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise UsageError("the executor 'ray' needs the package ray: pip install 'coview[ray]'") from error
        ours = not ray.is_initialized()
        if ours:
            here = "RAY_ADDRESS" not in os.environ
            local = {"num_cpus": self.workers or len(os.sched_getaffinity(0)), "include_dashboard": False}
            ray.init(log_to_driver=False, configure_logging=False, **(local if here else {}))
        try:
            remote = ray.remote(num_cpus=1, max_retries=1)(work)
            waiting, running = iter(tasks), list[Any]()
            while True:
                while len(running) < 2 * int(ray.cluster_resources()["CPU"]):
                    if (task := next(waiting, None)) is None:
                        break
                    running.append(remote.remote(task))
                if not running:
                    return
                done, running = ray.wait(running, num_returns=1)
                try:
                    yield ray.get(done[0])
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, CoviewError) else error) from None
        finally:
            if ours:
                ray.shutdown()


def choose_executor(name: Name, workers: int | None = None) -> Executor:
    """Return an executor; "auto" is "ranks" under torchrun or srun, "serial" for no workers, else "processes"."""
    if name == "auto":
        name = "ranks" if world_size() > 1 else "serial" if workers == 0 else "processes"
    if name == "ranks":
        return Ranks()
    if name == "ray":
        return Ray(workers)
    return Serial() if name == "serial" or workers == 0 else Processes(workers)


def _start_worker(caller: Connection) -> None:
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent
    torch.set_num_threads(1)


def _end_with(caller: Connection) -> None:
    """End this process as soon as the one that gave the work is gone or has lost interest."""
    caller.poll(None)
    os._exit(1)
