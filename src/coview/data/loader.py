"""The loader: an endless stream of raw batches whose content depends on (seed, step) and on nothing else.

Position comes from the step, so that a run continues anywhere without stored iterator state, and the batches are the
same for any number of reading processes and, joined over the ranks, for any number of training processes.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from coview.data.order import rows_of
from coview.data.processes import fresh_processes
from coview.data.source import Source, sample_keys
from coview.data.views import Batch
from coview.errors import CoviewError, UsageError


class Loader:
    """Reads batches of a source in the order of `order.rows_of`.

    An epoch has rows x clips_per_recording positions; the last incomplete batch of an epoch is left out, and since
    the order differs from epoch to epoch, other samples are left out each time.

    Args:
        batch_size: samples of all processes together.
        rank, world: this process reads the `rank`-th contiguous part of `world` parts of every batch.
        clips_per_recording: cuts of each recording in an epoch.
        workers: reading processes; 0 reads in this process, which is fastest for cheap sources (procedural worlds,
            memory-mapped sets) with small batches, because nothing has to travel between processes.

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
        self.workers = workers
        self.steps_per_epoch = positions // batch_size
        self._steps = _Steps(source, batch_size, seed, rank, world, clips_per_recording, self.steps_per_epoch)

    def stream(self, first_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of step `first_step`, the next, and so on without end; `epoch` of each is filled in."""
        for fields in self._reader(first_step):
            if isinstance(fields, CoviewError):
                raise fields
            yield Batch(**fields)

    def _reader(self, first_step: int) -> Iterator[Any]:
        pin = torch.cuda.is_available()
        if not self.workers and not pin:
            return map(self._steps.__getitem__, itertools.count(first_step))
        context = fresh_processes() if self.workers else None
        loader: DataLoader[Any] = DataLoader(
            self._steps,
            batch_size=None,  # an item of the data set is a whole batch
            sampler=_From(first_step),
            num_workers=self.workers,
            pin_memory=pin,
            multiprocessing_context=context,
            worker_init_fn=_start_worker if self.workers else None,
            prefetch_factor=2 if self.workers else None,
        )
        return iter(loader)


class _Steps(Dataset[Any]):
    """Item s is the part of batch s that belongs to this rank, as a dict of the fields of `Batch`."""

    def __init__(
        self, source: Source, batch_size: int, seed: int, rank: int, world: int, clips: int, steps_per_epoch: int
    ) -> None:
        self.source, self.seed, self.clips, self.steps_per_epoch = source, seed, clips, steps_per_epoch
        self.batch_size, self.rank, self.share = batch_size, rank, batch_size // world

    def __getitem__(self, step: int) -> Any:
        epoch, index = divmod(step, self.steps_per_epoch)
        first = index * self.batch_size + self.rank * self.share
        position = torch.arange(first, first + self.share)
        row = rows_of(position, len(self.source), self.clips, self.seed, epoch)
        try:
            batch = self.source.read(row, sample_keys(self.seed, epoch, position))
        except CoviewError as error:
            return error  # torch would rebuild a raised one from its text alone
        batch.epoch = epoch
        return dict(vars(batch))  # plain mappings can be pinned


class _From(Sampler[int]):
    """Steps without end."""

    def __init__(self, first_step: int) -> None:
        self.first_step = first_step

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first_step)


def _start_worker(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent, which ends its workers
    torch.set_num_threads(1)
