"""The batches of a run, prepared on its device, one ahead of the step; what cannot be read is kept until all know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from coview import parallel
from coview.data.views import Batch
from coview.errors import CoviewError
from coview.training.first_batch import write_samples
from coview.training.run import writing
from coview.training.setup import Parts


def prepared(parts: Parts, first: int) -> Iterator[Batch]:
    """Yield model batches on the device, from step `first` on, with the planned epochs and steps filled in."""
    train = parts.settings.train
    for step, raw in enumerate(parts.loader.stream(first), first):
        batch = replace(raw.to(parts.device), epochs=train.epochs, step=step, steps=int(train.steps or 0))
        with torch.no_grad():
            ready = parts.preprocess(batch, train=True)
        if step == 0 and parallel.is_main():
            with writing(parts.out / "samples"):
                write_samples(parts.out / "samples", parts.method.views, raw, ready)
        yield ready


class Feed:
    """Takes the batches of a run in their order.

    Attributes:
        waited: seconds that this process has waited for batches.
        problem: why the last batch could not be read.
    """

    def __init__(self, parts: Parts, first: int) -> None:
        self.stream = prepared(parts, first)
        self.waited = 0.0
        self.problem: CoviewError | None = None

    def take(self) -> Batch | None:
        """Return the next batch; None where it cannot be read, and `problem` then says why."""
        before = time.perf_counter()
        try:
            return next(self.stream)
        except CoviewError as error:
            self.problem = error
            return None
        finally:
            self.waited += time.perf_counter() - before
