"""Executors: where many tasks, each of which can be done again without harm, are done.

A task is a plain picklable value and the work a function of it at the top level of a module. Executors keep no state of
their own: work looks whether its result is there already, writes it aside and renames it. So a stopped call goes on
where it was, any task can be done again, and several machines need to share nothing but a folder.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from coview.data.watched import Lost, watched
from coview.errors import CoviewError, UsageError
from coview.parallel import rank, world_size

PATIENCE = 600.0  # seconds without a sign of life, after which a process is lost
_TRIES = 4  # of a task on Ray, when one machine after the other is lost under it
Task = TypeVar("Task")
Result = TypeVar("Result")
# Makes of a task, what it was working on when its process was lost, and why, the task without that.
Without = Callable[[Task, Any, str], Task]
Name = Literal["auto", "serial", "processes", "ranks", "ray"]


class Executor(Protocol):
    """Does tasks."""

    def run(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], without: Without[Task] | None = None
    ) -> Iterator[Result]:
        """Yield what `work` makes of each task that is this process's to see, in the order in which they are done.

        Args:
            without: where processes can be lost, what is done instead of a task that costs one.

        Raises:
            CoviewError: whatever the work raises, or a process was lost; tasks not yet begun are left out.
        """
        ...


class Serial:
    """One task after the other, here."""

    def run(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], without: Without[Task] | None = None
    ) -> Iterator[Result]:
        """See `Executor.run`."""
        yield from map(work, tasks)


@dataclass(frozen=True)
class Processes:
    """Processes of this computer that inherit nothing; None means one per core that this process may use."""

    workers: int | None = None

    def run(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], without: Without[Task] | None = None
    ) -> Iterator[Result]:
        """See `Executor.run`; with `without`, a process that gives no sign of life for ten minutes is lost too."""
        count = min(self.workers or len(os.sched_getaffinity(0)), len(tasks))
        left: Sequence[Task] = tasks
        while left and count:
            smaller = []
            for task, outcome in watched(work, left, count, lambda _: math.inf if without is None else PATIENCE):
                if not isinstance(outcome, Lost):
                    yield outcome
                elif without is None or outcome.at is None:
                    raise CoviewError(
                        "a working process was lost (out of memory, or a decoder that crashed); what is finished is "
                        "kept, and the same command goes on from here; fewer --workers need less memory"
                    )
                else:
                    smaller.append(without(task, outcome.at, outcome.reason))
            left = smaller


class Ranks:
    """Every process of torchrun or srun does its share, one task after the other, and sees its own results alone."""

    def run(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], without: Without[Task] | None = None
    ) -> Iterator[Result]:
        """See `Executor.run`."""
        yield from map(work, tasks[rank() :: world_size()])


@dataclass(frozen=True)
class Ray:
    """Ray tasks, on the cluster that RAY_ADDRESS names or else on this computer; folders must be shared by all.

    Work that may crash is done in a process below Ray's own, so that a crash of a decoder costs what it costs here, and
    Ray's tries are left for machines that are lost. Ray's dashboard lets anyone who reaches it run programs, so a local
    cluster is started without it.
    """

    workers: int | None = None

    def run(
        self, work: Callable[[Task], Result], tasks: Sequence[Task], without: Without[Task] | None = None
    ) -> Iterator[Result]:
        """See `Executor.run`; Ray itself tries a task again whose process or machine was lost, three times.

        Raises:
            UsageError: Ray is not installed.
            CoviewError: a task's process was lost each time.
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
            remote = ray.remote(num_cpus=1, max_retries=_TRIES - 1)(_done)
            waiting, running = iter(tasks), list[Any]()
            while True:
                while len(running) < 2 * max(1, int(ray.cluster_resources().get("CPU", 0))):  # none yet: Ray waits
                    if (task := next(waiting, None)) is None:
                        break
                    running.append(remote.remote(work, task, without))
                if not running:
                    return
                done, running = ray.wait(running, num_returns=1)
                try:
                    yield ray.get(done[0])
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, CoviewError) else error) from None
                except ray.exceptions.RayError as error:
                    raise CoviewError(
                        f"a task was lost {_TRIES} times on Ray ({type(error).__name__}: out of memory, or machines "
                        "that go); what is finished is kept, and the same command goes on from here"
                    ) from error
        finally:
            if ours:
                ray.shutdown()


def _done(work: Callable[[Task], Result], task: Task, without: Without[Task] | None) -> Result:
    return work(task) if without is None else next(Processes(1).run(work, [task], without))


def choose_executor(name: Name, workers: int | None = None) -> Executor:
    """Return an executor; "auto" is "ranks" under torchrun or srun, "serial" for no workers, else "processes"."""
    if name == "auto":
        name = "ranks" if world_size() > 1 else "serial" if workers == 0 else "processes"
    if name == "ranks":
        return Ranks()
    if name == "ray":
        return Ray(workers)
    return Serial() if name == "serial" or workers == 0 else Processes(workers)
