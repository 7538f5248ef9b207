"""One optimiser step: gradients of a batch in as many parts as asked, and what all processes agree on afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from coview import parallel
from coview.data.views import Batch
from coview.methods.contract import Step
from coview.training import cached
from coview.training.setup import Parts


def learn(parts: Parts, batch: Batch) -> Step:
    """Add up the gradients of a batch, part by part, and make the step, unless no part had anything to learn from.

    Returns the mean loss of the parts that learnt, and their embeddings joined. An idle step moves nothing: no weight,
    no moment of the optimiser, no slow copy, no memory.
    """
    settings, method = parts.settings, parts.method
    parts.optimiser.zero_grad(set_to_none=True)
    pieces = [step for step in _backward(parts, batch) if not step.idle]
    if settings.train.cached > 1:
        cached.average_gradients(method)
    if not pieces:
        return Step(batch.key.new_zeros((), dtype=torch.float32), idle=True)
    if len(pieces) < settings.train.accumulate:  # the mean is over the parts that learnt
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(settings.train.accumulate / len(pieces))
    if settings.optimiser.clip_gradient is not None:
        nn.utils.clip_grad_norm_(method.parameters(), settings.optimiser.clip_gradient)
    parts.optimiser.step()
    method.after_step()
    return _joined(pieces, len(batch) // settings.train.accumulate)


def _backward(parts: Parts, batch: Batch) -> list[Step]:
    train, pieces = parts.settings.train, []
    share = len(batch) // train.accumulate
    autocast = partial(torch.autocast, parts.device.type, torch.bfloat16, enabled=train.precision == "bf16")
    for index in range(train.accumulate):
        piece = batch if train.accumulate == 1 else batch.select(slice(index * share, (index + 1) * share))
        if train.cached > 1:
            pieces.append(cached.backward(parts.method, piece, train.cached, 1 / train.accumulate, autocast))
            continue
        ended = index + 1 == train.accumulate
        alone = isinstance(parts.wrapped, DistributedDataParallel) and not ended
        with parts.wrapped.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with autocast():
                step = parts.wrapped(piece)
            (step.loss / train.accumulate).backward()
        pieces.append(step)
    return pieces


def _joined(pieces: Sequence[Step], size: int) -> Step:
    """Return one step of those of parts of `size` samples; parts need not have embeddings of the same views."""
    return Step(
        torch.stack([step.loss.detach() for step in pieces]).mean(),
        {
            name: torch.stack([step.parts[name] for step in pieces if name in step.parts]).mean()
            for name in sorted(set().union(*(step.parts for step in pieces)))
        },
        {
            view: torch.cat([step.embeddings[view] for step in pieces if view in step.embeddings])
            for view in sorted(set().union(*(step.embeddings for step in pieces)))
        },
        used=sum(_used(step, size) for step in pieces),
    )


def _used(step: Step, size: int) -> int:
    """Return how many of `size` samples a loss used."""
    if step.idle or step.used is not None:
        return step.used or 0
    return min(size, max((len(z) for z in step.embeddings.values()), default=size))


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """What all processes know of a step.

    Attributes:
        numbers: the loss and its parts as means over the processes; of an idle step the loss alone, which is None.
        used: samples that the loss used, of all processes.
        signum: the signal that any of them has received, or 0.
        failed: processes that could not read their next batch.
    """

    numbers: dict[str, Any]
    used: int
    signum: int
    failed: list[int]


def agree(result: Step, size: int, stop: Sequence[int], failed: bool) -> Agreed:
    """Bring together what the processes know of a step; in one collective.

    Args:
        size: samples of this process's part of the batch: those used by a method that shows no embeddings.
        stop: signals received here.
        failed: the next batch could not be read here.
    """
    names = ["loss", *result.parts]
    values = [result.loss.float(), *(part.float() for part in result.parts.values())]
    facts = result.loss.new_tensor(
        [float(_used(result, size)), float(stop[0] if stop else 0), float(failed)], dtype=torch.float32
    )
    everyone = parallel.gather(torch.cat([torch.stack(values), facts])[None]).double()
    means = everyone[:, : len(names)].mean(0).tolist()
    used_by, signals, failures = everyone[:, len(names) :].T.tolist()
    return Agreed(
        numbers={"loss": None} if result.idle else dict(zip(names, means, strict=True)),
        used=int(sum(used_by)),
        signum=int(max(signals)),
        failed=[rank for rank, value in enumerate(failures) if value],
    )
