"""The loader: an endless stream of raw batches whose content depends on (seed, step) and on nothing else.

Position comes from the step, so that a run continues anywhere without stored iterator state, and the batches are the
same for any number of reading processes and, joined over the ranks, for any number of training processes. Steps that
read the same recordings are read together where that saves work; what is in their batches does not depend on it.
"""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from coview.data.order import Order, WeightedOrder
from coview.data.processes import fresh_processes, give_memory_back
from coview.data.source import Source, sample_keys
from coview.data.views import Batch, raw_views
from coview.errors import CoviewError, UsageError

_KILLED, _SILENT = "exited unexpectedly", "DataLoader timed out"  # what torch says of reading processes
_LOOK = 5.0  # seconds from one look at silent reading processes to the next
_TOGETHER_BYTES = 80 * 2**20  # of the raw views of a window, which are read together


class Loader:
    """Reads batches of a source in the order of `order.Order`, or, once told chances, of `order.WeightedOrder`.

    An epoch has rows x clips_per_recording positions; the last incomplete batch of an epoch is left out, and since
    the order differs from epoch to epoch, other samples are left out each time.

    Args:
        batch_size: samples of all processes together.
        rank, world: this process reads the `rank`-th contiguous part of `world` parts of every batch.
        clips_per_recording: cuts of each recording in an epoch. Where batches and views are small, the cuts lie in
            batches near each other, so that files are decoded once for several of them.
        workers: reading processes; 0 reads in this process, which is fastest for cheap sources (procedural worlds,
            memory-mapped sets) with small batches, because nothing has to travel between processes.
        patience: seconds without a batch, from which the reading processes count as stalled.
        say: is told of reading processes that were killed and started again, and once what a source says of reading.

    Attributes:
        steps_per_epoch: whole batches in an epoch.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        clips_per_recording: int = 1,
        workers: int = 0,
        patience: float = 600.0,
        say: Callable[[str], None] = warnings.warn,
    ) -> None:
        positions = len(source) * clips_per_recording
        if batch_size < 1 or batch_size % world:
            raise UsageError(f"a global batch of {batch_size} cannot be cut evenly into {world} processes")
        if batch_size > positions:
            raise UsageError(
                f"{source.name}: a batch of {batch_size} is larger than an epoch of {positions} samples "
                f"({len(source)} recordings x {clips_per_recording} clips); use a smaller batch or more clips each"
            )
        self.source = source
        self.batch_size = batch_size
        self.workers, self.patience, self.say = workers, patience, say
        self.steps_per_epoch = positions // batch_size
        self._said: set[str] = set()
        # Not of this rank's share: all processes, however many, need one order.
        reads = _TOGETHER_BYTES // sum(view.raw_bytes for view in raw_views(source.views).values())
        self._evenly = Order.within(reads, len(source), clips_per_recording, batch_size)
        self._steps = _Steps(source, self._evenly, seed, rank, world, self.steps_per_epoch)

    def weigh(self, chances: Tensor | None) -> None:
        """Draw recordings with these chances (float64 (rows,)) from now on; None leaves the order as it is."""
        if chances is not None:
            self._steps.order = self._evenly.weighted(chances)

    def stream(self, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of step `first_step`, the next, and so on without end; each with its `epoch` and `step`.

        A reading process that was killed is named (`say`) and started again with the others, once for each step.

        Raises:
            CoviewError: what a source raised; reading processes were killed twice at one step; or none of them gave a
                batch for `patience` seconds.
        """
        step, lost = first_step, -1
        while True:
            try:
                for batch in self._batches(step):
                    batch.step = step
                    yield batch
                    step += 1
            except RuntimeError as error:  # torch has no error of its own for this
                text = str(error)
                if _SILENT in text:
                    raise CoviewError(
                        f"{self.source.name}: no batch came for {self.patience:g} s at step {step}; the {self.workers} "
                        "reading processes wait for something, such as a network folder that does not answer"
                    ) from error
                if _KILLED not in text:
                    raise
                who = text.removeprefix("DataLoader ")
                if lost == step:
                    raise CoviewError(
                        f"{self.source.name}: reading processes were killed twice at step {step} ({who}); the system "
                        "does so where memory runs out: use fewer workers"
                    ) from error
                lost = step
                self.say(f"at step {step}: {who}; the reading processes are started again")

    def _batches(self, first_step: int) -> Iterator[Batch]:
        share = self._steps.share
        for read in self._patiently(self._reader(first_step)):
            for fields in read:
                if isinstance(fields, CoviewError):
                    raise fields
                whole = Batch(**fields)
                for sentence in whole.said:
                    if sentence not in self._said:
                        self._said.add(sentence)
                        self.say(sentence)
                for first in range(0, len(whole), share):
                    yield whole if len(whole) == share else whole.select(slice(first, first + share))

    def _patiently(self, reader: Iterator[Any]) -> Iterator[Any]:
        """Yield what a reader does, which may be silent for a while."""
        waited = 0.0
        while True:
            try:
                read = next(reader, None)
            except (RuntimeError, OSError, EOFError) as error:
                waited += _LOOK
                # A process that dies while it hands a batch over cuts the connection; torch names it the next time.
                cut = self.workers and not isinstance(error, RuntimeError) and "Caught" not in str(error)
                if not (cut or _SILENT in str(error)) or waited >= self.patience:
                    raise
                continue
            if read is None:
                return
            waited = 0.0
            yield read

    def _reader(self, first_step: int) -> Iterator[Any]:
        pin = torch.cuda.is_available()
        if not self.workers and not pin:
            return map(self._steps.__getitem__, self._steps.together(first_step))
        context = fresh_processes() if self.workers else None
        loader: DataLoader[Any] = DataLoader(
            self._steps,
            batch_size=None,  # an item of the data set is whole batches already
            sampler=_From(self._steps, first_step),
            num_workers=self.workers,
            pin_memory=pin,
            multiprocessing_context=context,
            worker_init_fn=_start_worker if self.workers else None,
            prefetch_factor=2 if self.workers else None,
            timeout=min(_LOOK, self.patience) if self.workers else 0,  # torch sees who died when it has waited so long
        )
        return iter(loader)


class _Steps(Dataset[Any]):
    """Item `steps` is what this rank reads in these steps: dicts of `Batch`'s fields, of one or more steps each."""

    def __init__(self, source: Source, order: Order, seed: int, rank: int, world: int, steps_per_epoch: int) -> None:
        self.source, self.seed = source, seed
        self.order: Order | WeightedOrder = order
        self.rank, self.share = rank, order.batch_size // world
        self.steps_per_epoch, self.in_one_pass = steps_per_epoch, getattr(source, "in_one_pass", False)

    def together(self, first_step: int) -> Iterator[range]:
        """Yield the steps from `first_step` on, without end: windows, where files are cut in one pass."""
        while True:
            index = first_step % self.steps_per_epoch
            window = self.order.steps_together(index, self.steps_per_epoch)
            end = window.stop if self.in_one_pass else index + 1
            yield range(first_step, first_step + end - index)
            first_step += end - index

    def __getitem__(self, steps: range) -> list[Any]:
        epoch, index = divmod(steps.start, self.steps_per_epoch)
        first = torch.arange(index, index + len(steps)) * self.order.batch_size + self.rank * self.share
        position = first[:, None] + torch.arange(self.share)
        row = self.order.rows_of(position.flatten(), self.seed, epoch).view_as(position)
        key = sample_keys(self.seed, epoch, position)
        try:
            batch = self.source.read(row.flatten(), key.flatten())
        except CoviewError as error:
            if len(steps) == 1:
                return [error]  # torch would rebuild a raised one from its text alone
            batch = None
        if batch is None or (batch.replaced and len(steps) > 1):  # each batch names its own problems
            return [one for step in steps for one in self[range(step, step + 1)]]
        batch.epoch = epoch
        return [dict(vars(batch))]  # plain mappings can be pinned


class _From(Sampler[range]):
    """Steps without end, cut where they are best read together."""

    def __init__(self, steps: _Steps, first_step: int) -> None:
        self.steps, self.first_step = steps, first_step

    def __iter__(self) -> Iterator[range]:
        return self.steps.together(self.first_step)


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent, which ends its workers
    sys.excepthook = _say_unless_cut
    torch.set_num_threads(1)
    give_memory_back()


def _say_unless_cut(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that nothing caught, unless a parent that ends cut the connection on which batches travel."""
    if not issubclass(kind, (ConnectionError, EOFError)):  # what reading raised never comes here: torch carries it
        sys.__excepthook__(kind, error, trace)
