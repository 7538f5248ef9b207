"""Two processes that decode for the server; one that dies or takes too long is replaced, and its job has failed."""

from __future__ import annotations

import json
import multiprocessing
import queue
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from coview.serve import child
from coview.serve.refusal import Refusal

COUNT = 2
_SLACK = 15  # s that a job may take on a busy computer beyond what it may compute


class Workers:
    """The processes, started when they are first needed."""

    def __init__(self, count: int = COUNT) -> None:
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        self._all = [_Worker() for _ in range(count)]
        for worker in self._all:
            self._idle.put(worker)

    def do(self, job: dict[str, Any]) -> Any:
        """Wait for a free process, and return what it makes of a job.

        Raises:
            Refusal: 422, the file cannot be shown; says why.
        """
        worker = self._idle.get()
        try:
            answer = worker.ask(job)
        finally:
            self._idle.put(worker)
        if "error" in answer:
            raise Refusal(422, str(answer["error"])[:300], "the file is as it was indexed, but it cannot be decoded")
        return answer["made"]

    def close(self) -> None:
        """End the processes, whatever they do."""
        for worker in self._all:
            worker.end()


class _Worker:
    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        connection = self._started()
        seconds = _SLACK + 4 * child.SECONDS.get(job["kind"], child.USUAL_SECONDS)
        try:
            connection.send_bytes(json.dumps(job).encode())
            if not connection.poll(seconds):
                raise TimeoutError
            answer: dict[str, Any] = json.loads(connection.recv_bytes(1 << 20))
            return answer
        except (OSError, EOFError, ValueError) as error:  # TimeoutError is an OSError
            self.end()
            why = "took too long" if isinstance(error, TimeoutError) else "ended its decoder"
            return {"error": f"decoding it {why}"}

    def _started(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            self.end()
            context = multiprocessing.get_context("spawn")
            self._connection, other = context.Pipe()
            self._process = context.Process(target=child.run, args=(other,), daemon=True)
            self._process.start()
            other.close()  # only the process holds it, so that its end is noticed
        return self._connection

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None
