"""Features of a source under a frozen model: the same numbers whatever the number of processes."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from coview import parallel
from coview.data.source import Source
from coview.data.views import Batch
from coview.errors import CoviewError, UsageError

if TYPE_CHECKING:
    from coview.model import Model

Space = Literal["backbone", "projected"]


@dataclass
class Features:
    """What a model makes of N recordings, W evenly spaced windows each.

    Attributes:
        clips: view -> float32 (N, W, D) on the CPU; zero where absent.
        clip_present: view -> bool (N, W).
        start: view -> float64 (N, W), where each window begins, in seconds.
        labels: int64 (N,), -1 where unlabelled.
        rows: int64 (N,), positions in the source, ascending.
        ids: the recordings' ids.
        classes: names of the labels.
    """

    clips: dict[str, Tensor]
    clip_present: dict[str, Tensor]
    start: dict[str, Tensor]
    labels: Tensor
    rows: Tensor
    ids: list[str]
    classes: list[str] = field(default_factory=list)

    @cached_property
    def values(self) -> dict[str, Tensor]:
        """View -> float32 (N, D), the mean over the windows that are present; zero where none is."""
        counts = {view: mask.sum(1, keepdim=True).clamp(min=1) for view, mask in self.clip_present.items()}
        return {view: clips.sum(1) / counts[view] for view, clips in self.clips.items()}

    @cached_property
    def present(self) -> dict[str, Tensor]:
        """View -> bool (N,), where at least one window is present."""
        return {view: mask.any(1) for view, mask in self.clip_present.items()}

    def __len__(self) -> int:
        return self.rows.numel()


def extract(
    model: Model,
    source: Source,
    *,
    windows: int = 1,
    space: Space = "backbone",
    batch_size: int = 64,
    rows: Tensor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Embed a source, or its `rows` (int64, ascending), without training or changing the model.

    Process r of W embeds every W-th row; the parts are gathered and put in order by row, so that every process holds
    the same complete set and no row is counted twice. `progress(done, total)` counts this process's clips.
    """
    everything = torch.arange(len(source)) if rows is None else rows
    if everything.numel() == 0:
        raise UsageError(f"{source.name}: there is nothing to embed; the collection or its split is empty")
    windows = source.windows(windows)
    mine = everything[parallel.rank() :: parallel.world_size()]
    parts: dict[str, dict[int, list[Tensor]]] = {}
    masks: dict[str, dict[int, list[Tensor]]] = {}
    starts: dict[str, dict[int, list[Tensor]]] = {}
    # A process without rows embeds one all the same: it must know the shapes to take part in the gathering.
    asked = mine if mine.numel() else everything[:1]
    done, total = 0, asked.numel() * windows
    for window, batch in read_windows(source, asked, windows, batch_size):
        for view, values in model.encode(batch, space).items():
            there = batch.present[view].cpu()
            kept = values.detach().float().cpu() * there[:, None]
            parts.setdefault(view, {}).setdefault(window, []).append(kept)
            masks.setdefault(view, {}).setdefault(window, []).append(there)
            begin = batch.start.get(view, torch.zeros(len(batch), dtype=torch.float64))
            starts.setdefault(view, {}).setdefault(window, []).append(begin.double().cpu())
        done += len(batch)
        if progress:
            progress(done, total)
    device = next(model.method.parameters()).device
    gathered = _gather(mine, device)
    if gathered.numel() != everything.numel():
        raise CoviewError(
            f"{gathered.numel()} of {everything.numel()} rows were embedded: several processes were started, but they "
            "have not joined; call coview.parallel.initialise first"
        )
    order, count = torch.argsort(gathered), mine.numel()

    def whole(pieces: dict[int, list[Tensor]]) -> Tensor:
        stacked = torch.stack([torch.cat(pieces[window]) for window in range(windows)], dim=1)
        return _gather(stacked[:count], device)[order]

    views = sorted(parts)  # one order on every process, since each view is a collective
    return Features(
        clips={view: whole(parts[view]) for view in views},
        clip_present={view: whole(masks[view]) for view in views},
        start={view: whole(starts[view]) for view in views},
        labels=source.labels[everything],
        rows=everything,
        ids=[source.ids[row] for row in everything.tolist()],
        classes=list(source.classes),
    )


def read_windows(source: Source, rows: Tensor, windows: int, batch_size: int) -> Iterator[tuple[int, Batch]]:
    """Yield (window, raw batch) over `rows`, all windows of one part of the rows before the next part.

    Batches are read ahead by threads, which decoding leaves free to run side by side; their order is fixed.
    """
    tasks = [(part, window) for part in torch.split(rows, batch_size) for window in range(windows)]
    threads = min(4, os.cpu_count() or 1)
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part, window in tasks:
            waiting.append((window, pool.submit(source.read_window, part, window, windows)))
            if len(waiting) > threads:
                ready, future = waiting.popleft()
                yield ready, future.result()
        while waiting:
            ready, future = waiting.popleft()
            yield ready, future.result()


def fingerprint(model: Model) -> str:
    """Return the SHA-256 of every tensor of the encoders and heads: name, shape, type, bytes; running statistics too."""
    digest = hashlib.sha256()
    for part in (model.method.encoders, model.method.projectors):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _gather(tensor: Tensor, device: torch.device) -> Tensor:
    """Gather a CPU tensor along its first dimension by way of the model's device, the one the backend can read."""
    carried = tensor.to(torch.uint8) if tensor.dtype is torch.bool else tensor
    return parallel.gather(carried.to(device)).cpu().to(tensor.dtype)
