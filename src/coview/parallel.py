"""The collectives: who am I, gather with gradient, sums and moments over all processes.

Everything works without a process group too, as a world of one. Gradients follow one convention: every process
differentiates its own loss and data parallelism averages parameter gradients afterwards. A backward pass here therefore
SUMS over processes, and the average then equals the gradient of the mean loss on the joined batch exactly.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from coview.errors import CoviewError, UsageError

WAIT_SECONDS = 900.0  # how long a process waits for the others in a collective; COVIEW_TIMEOUT says otherwise
_ANSWER_SECONDS = 5.0  # how long those that have given up wait for each other's word
_LEFT = re.compile("connection (closed|reset|refused)|broken pipe|peer", re.IGNORECASE)
_STALLED = re.compile("timed? ?out", re.IGNORECASE)


def joined() -> bool:
    """Return whether this process belongs to a process group."""
    return dist.is_available() and dist.is_initialized()


def _environment(torchrun: str, slurm: str, default: int) -> int:
    return int(os.environ.get(torchrun) or os.environ.get(slurm) or default)


def rank() -> int:
    """Return this process's number among all: of the process group, else of torchrun or srun, else 0."""
    return dist.get_rank() if joined() else _environment("RANK", "SLURM_PROCID", 0) % world_size()


def world_size() -> int:
    """Return the number of processes: of the process group, else of torchrun or srun, else 1."""
    # srun alone sets the STEP variable; a batch script's own Python is one process whatever SLURM_NTASKS says.
    return dist.get_world_size() if joined() else _environment("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", 1)


def is_main() -> bool:
    """Return whether this is process 0, the one that writes and talks."""
    return rank() == 0


def initialise(device: torch.device | str) -> torch.device:
    """Join the process group that torchrun or srun announce (nccl on CUDA, else gloo); return this process's device.

    Alone, no group is made. A bare "cuda" becomes the device of the local rank. In a collective the others are waited
    for 900 s, or as long as the environment's COVIEW_TIMEOUT says.

    Raises:
        UsageError: COVIEW_TIMEOUT is no number of seconds.
    """
    device = torch.device(device)
    if device.type == "cuda":
        local = _environment("LOCAL_RANK", "SLURM_LOCALID", 0) if world_size() > 1 else 0
        device = torch.device("cuda", local if device.index is None else device.index)
        torch.cuda.set_device(device)
    if world_size() > 1 and not joined():
        os.environ.setdefault("MASTER_ADDR", _first_host(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")))
        os.environ.setdefault("MASTER_PORT", str(20000 + int(os.environ.get("SLURM_JOB_ID", "9500")) % 20000))
        cuda = device.type == "cuda"
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            rank=rank(),
            world_size=world_size(),
            device_id=device if cuda else None,
            timeout=timedelta(seconds=_wait_seconds()),
        )
    return device


def shutdown() -> None:
    """Leave the process group, if there is one. To be called in a `finally`.

    Raises:
        CoviewError: what ended the work was waiting for another process; names those that waited and those that were
            waited for.
    """
    if not joined():
        return
    error = sys.exc_info()[1]
    story = _who_waited(error) if isinstance(error, RuntimeError) else None
    dist.destroy_process_group()
    if story is not None:
        raise CoviewError(story) from error


def _wait_seconds() -> float:
    asked = os.environ.get("COVIEW_TIMEOUT", str(WAIT_SECONDS))
    try:
        seconds = float(asked)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e7:
        raise UsageError(f"COVIEW_TIMEOUT is {asked!r}; expected seconds, such as 900")
    return seconds


def _who_waited(error: RuntimeError) -> str | None:
    """Return who waited for whom where `error` is a collective's, else None; those that gave up tell each other."""
    stalled = _STALLED.search(str(error)) is not None
    if not stalled and _LEFT.search(str(error)) is None:
        return None
    world, here = dist.get_world_size(), dist.get_rank()
    waiting, ended = {here}, time.monotonic() + _ANSWER_SECONDS
    try:
        store = dist.distributed_c10d._get_default_store()
        store.set_timeout(timedelta(seconds=_ANSWER_SECONDS))
        store.set(f"coview/waiting/{here}", "1")
        while len(waiting) < world - 1 and time.monotonic() < ended:
            waiting = {other for other in range(world) if store.check([f"coview/waiting/{other}"])}
            time.sleep(0.1)
    except (
        RuntimeError
    ):  # the process that keeps the store, which is process 0 without torchrun, is the one that stalls
        pass
    absent = [other for other in range(world) if other not in waiting]
    did = "did not come: stalled, or far behind" if stalled else "ended; its own message says why"
    return (
        f"{_named(sorted(waiting))} waited for {_named(absent)}, which {did} "
        f"(COVIEW_TIMEOUT=SECONDS sets how long processes wait, now {_wait_seconds():g})"
    )


def _named(ranks: list[int]) -> str:
    return f"process{'es' if len(ranks) > 1 else ''} {', '.join(map(str, ranks)) or '?'}"


def _first_host(nodes: str) -> str:
    """Return the first name of a SLURM node list such as "node[03-07,9],other"."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\])?", nodes)
    return match[1] + (match[2] or "") if match else nodes


def row_counts(x: Tensor) -> list[int]:
    """Return the first dimension of every process's x, in order of rank."""
    if not joined():
        return [x.shape[0]]
    own = torch.tensor([x.shape[0]], device=x.device)
    counts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, own)
    return cast(list[int], torch.cat(counts).tolist())


def gather(x: Tensor) -> Tensor:
    """Concatenate x (N_r, ...) of all processes in order of rank, without gradient; N_r may differ and may be 0."""
    return _all_gather(x.detach(), row_counts(x)) if joined() else x.detach()


def on_main(action: Callable[[], Any]) -> None:
    """Let process 0 act; where that fails, whatever it raises, every process raises, so that none is left waiting."""
    problem: Exception | None = None
    if is_main():
        try:
            action()
        except Exception as error:
            problem = error
    failed = gather(torch.tensor([problem is not None], dtype=torch.uint8, device=collective_device()))
    if problem is not None:
        raise problem
    if bool(failed.any()):
        raise UsageError("process 0 stopped with an error; its message says why")


def collective_device() -> str:
    """Return where a collective's tensors must be: nccl carries nothing from the CPU."""
    nccl = joined() and dist.get_backend() == "nccl"
    return "cuda" if nccl else "cpu"


def gather_with_grad(x: Tensor) -> Tensor:
    """Concatenate x (N_r, ...) of all processes in order of rank; gradients flow back to every process's own rows.

    Rows may differ in number between processes (views can be absent), nothing else may. The backward pass sums what
    all processes' losses say about a row.
    """
    return cast(Tensor, _Gather.apply(x, row_counts(x))) if joined() else x


def sum_with_grad(x: Tensor) -> Tensor:
    """Sum x, of one shape everywhere, over all processes; the backward pass sums the gradients in the same way."""
    return cast(Tensor, _Sum.apply(x)) if joined() else x


def reduced_moments(x: Tensor, covariance: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, mean (D,) and unbiased variance (D,), or covariance (D, D), of all processes' rows x (N_r, D).

    With gradient; in two passes, so that a large mean costs no digits. Fewer than two rows have variance 0.
    """
    count = sum_with_grad(x.new_tensor(float(x.shape[0])))
    mean = sum_with_grad(x.sum(0)) / count.clamp(min=1)
    centred = x - mean
    scatter = centred.T @ centred if covariance else centred.square().sum(0)
    return count, mean, sum_with_grad(scatter) / (count - 1).clamp(min=1)


def mean_over_world(per_sample: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return this process's share of the mean of per_sample (N_r,) over all processes, where mask (N_r,) is true.

    It is W times the local sum over the global count, so that averaging losses and gradients over the W processes gives
    the exact global mean although N_r differ. 0 where nothing is left.
    """
    kept = per_sample if mask is None else torch.where(mask, per_sample, 0.0)
    count = per_sample.new_tensor(float(per_sample.shape[0])) if mask is None else mask.sum().to(per_sample)
    total = sum_with_grad(count).clamp(min=1)
    return kept.sum() * (dist.get_world_size() if joined() else 1) / total


def is_divided(value: object) -> bool:
    """Return whether a tensor is divided over the processes (a DTensor)."""
    # Whoever has made one has imported this module, which takes a second; nobody else should.
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(value, tensors.DTensor)


def divided_as(value: Tensor, like: Any) -> Tensor:
    """Return a tensor that every process holds whole, divided over the processes as `like` is; no collective."""
    if not is_divided(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _all_gather(x: Tensor, counts: list[int]) -> Tensor:
    longest = max(counts)
    padded = torch.cat([x, x.new_zeros(longest - x.shape[0], *x.shape[1:])]).contiguous()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.start, ctx.count = sum(counts[: dist.get_rank()]), counts[dist.get_rank()]
        return _all_gather(x, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.count], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return (total,)
