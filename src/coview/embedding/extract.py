"""Features of a source under a frozen model: the same numbers whatever the number of processes."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coview import parallel
from coview.data.source import Source
from coview.data.source import read_windows as together
from coview.data.views import Batch, cut_from
from coview.errors import CoviewError, UsageError
from coview.methods.reading import Space

if TYPE_CHECKING:
    from coview.model import Model

__all__ = ["Embed", "Features", "Space", "extract", "extract_locally", "read_windows"]

Embed = Callable[[Batch], Mapping[str, Tensor]]
_TOGETHER_BYTES = 128 * 2**20  # of the raw views of windows that are read in one pass
NOT_FINITE = "its embedding is NaN or infinite"


@dataclass
class Features:
    """What a model makes of N recordings, W evenly spaced windows each. All numbers are finite.

    Attributes:
        clips: name of an embedding, mostly that of its view -> float32 (N, W, D) on the CPU; zero where absent.
        clip_present: view -> bool (N, W).
        start: view -> float64 (N, W), where each window begins, in seconds.
        labels: int64 (N,), -1 where unlabelled.
        rows: int64 (N,), positions in the source, ascending.
        ids: the recordings' ids.
        classes: names of the labels.
        problems: (id, reason) of every recording that could not be read, or whose embedding was not finite, in full or
            in part: what of it is absent may be absent for that reason.
    """

    clips: dict[str, Tensor]
    clip_present: dict[str, Tensor]
    start: dict[str, Tensor]
    labels: Tensor
    rows: Tensor
    ids: list[str]
    classes: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def values(self) -> dict[str, Tensor]:
        """View -> float32 (N, D), the mean over the windows that are present; zero where none is."""
        if all(clips.shape[1] == 1 for clips in self.clips.values()):
            return {view: clips[:, 0] for view, clips in self.clips.items()}  # no copy: they may lie in files
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
    embed: Embed | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Embed a source, or its `rows` (int64, ascending), without training or changing the model.

    The rows are cut into batches first, and process r of W embeds every W-th batch; the parts are gathered and put in
    order by row. So every process holds the same complete set, no row is counted twice or padded, and since a batch
    holds the same rows for every W, the numbers are those of one process to the bit.

    What cannot be read, and what a model makes NaN or infinity of, is absent and listed in `Features.problems`.

    Args:
        embed: what to make of a raw batch instead of the features of `space`: "name" or "name/what" -> (B, D).
        progress: called with (done, total), this process's clips.

    Raises:
        UsageError: there are no recordings.
        CoviewError: no recording at all has a finite embedding, of those that have the view.
    """
    everything = torch.arange(len(source)) if rows is None else rows
    if everything.numel() == 0:
        raise UsageError(f"{source.name}: there is nothing to embed; the collection or its split is empty")
    mine = torch.cat([everything[:0], *torch.split(everything, batch_size)[parallel.rank() :: parallel.world_size()]])
    # A process without rows embeds one all the same: it must know the shapes to take part in the gathering.
    asked = mine if mine.numel() else everything[:1]
    local = extract_locally(
        model, source, asked, windows=windows, space=space, batch_size=batch_size, embed=embed, progress=progress
    )
    device = next(model.method.parameters()).device
    gathered = _gather(mine, device)
    if gathered.numel() != everything.numel():
        raise CoviewError(
            f"{gathered.numel()} of {everything.numel()} rows were embedded: several processes were started, but they "
            "have not joined; call coview.parallel.initialise first"
        )
    order, count = torch.argsort(gathered), mine.numel()

    def whole(parts: dict[str, Tensor]) -> dict[str, Tensor]:
        return {view: _gather(part[:count], device)[order] for view, part in parts.items()}

    found = Features(
        clips=whole(local.clips),
        clip_present=whole(local.clip_present),
        start=whole(local.start),
        labels=source.labels[everything],
        rows=everything,
        ids=[source.ids[row] for row in everything.tolist()],
        classes=list(source.classes),
        problems=_everyones(local.problems if count else []),
    )
    require_some(found)
    return found


def extract_locally(
    model: Model,
    source: Source,
    rows: Tensor,
    *,
    windows: int = 1,
    space: Space = "backbone",
    batch_size: int = 64,
    embed: Embed | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """Embed `rows` (int64) in this process alone; see `extract`."""
    windows = source.windows(windows)
    clips: dict[str, list[Tensor]] = {}
    masks: dict[str, list[Tensor]] = {}
    starts: dict[str, list[Tensor]] = {}
    problems: dict[tuple[str, str], None] = {}  # in order, each once
    done, total = 0, rows.numel() * windows
    for batch in read_windows(source, rows, windows, batch_size):
        problems |= dict.fromkeys((source.ids[row], reason) for row, reason in batch.replaced)
        for name, values in (embed(batch) if embed else model.encode(batch, space)).items():
            own = name.partition("/")[0]
            there = model.present(batch, own).cpu()
            values = values.detach().float().cpu()
            finite = values.flatten(1).isfinite().all(1)
            problems |= {(source.ids[row], NOT_FINITE): None for row in batch.row.cpu()[there & ~finite].tolist()}
            present = there & finite
            clips.setdefault(name, []).append(torch.where(present[:, None], values, 0.0))
            masks.setdefault(name, []).append(present)
            first = model.reads[own][0]
            starts.setdefault(name, []).append(batch.start[cut_from(first, model.views[first])].double().cpu())
        done += len(batch)
        if progress:
            progress(done, total)

    def joined(parts: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        # Batches come window by window inside each part of the rows. Views in one order on every process.
        groups = {view: [list(p[i : i + windows]) for i in range(0, len(p), windows)] for view, p in parts.items()}
        return {view: torch.cat([torch.stack(group, dim=1) for group in groups[view]]) for view in sorted(groups)}

    return Features(
        clips=joined(clips),
        clip_present=joined(masks),
        start=joined(starts),
        labels=source.labels[rows],
        rows=rows,
        ids=[source.ids[row] for row in rows.tolist()],
        classes=list(source.classes),
        problems=list(problems),
    )


def require_some(features: Features) -> None:
    """Refuse features of which nothing is left because a model's embeddings are not finite."""
    bad = [recording for recording, reason in features.problems if reason == NOT_FINITE]
    if bad and not any(bool(present.any()) for present in features.clip_present.values()):
        raise CoviewError(
            f"the model makes NaN or infinity of all {len(bad)} recordings it could read ({', '.join(bad[:3])}, ...): "
            "training diverged, or its statistics of normalisation are wrong; take an earlier checkpoint"
        )


def read_windows(source: Source, rows: Tensor, windows: int, batch_size: int) -> Iterator[Batch]:
    """Yield raw batches of `rows`, all windows of one part of the rows before the next part.

    Batches are read ahead by threads, which decoding leaves free to run side by side; their order is fixed. Where files
    are decoded, several windows are read in one pass over each, by every thread for some of the rows.
    """
    threads = min(4, os.cpu_count() or 1)
    room = _TOGETHER_BYTES // (batch_size * sum(view.raw_bytes for view in source.views.values()))
    group = max(1, min(windows, room)) if getattr(source, "in_one_pass", False) else 1
    tasks = [
        (part, range(first, min(first + group, windows)))
        for part in torch.split(rows, batch_size)
        for first in range(0, windows, group)
    ]
    waiting: deque[list[Future[list[Batch]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part, some in tasks:
            pieces = torch.split(part, -(-len(part) // threads)) if group > 1 else [part]
            waiting.append([pool.submit(together, source, piece, some, windows) for piece in pieces])
            if len(waiting) > (threads if group == 1 else 1):
                yield from _joined(waiting.popleft())
        while waiting:
            yield from _joined(waiting.popleft())


def _joined(pieces: list[Future[list[Batch]]]) -> Iterator[Batch]:
    """Yield a batch for every window, of pieces that hold some rows each."""
    for first, *others in zip(*(piece.result() for piece in pieces), strict=True):
        whole = first.map(lambda *parts: torch.cat(parts), *others) if others else first
        whole.replaced = [problem for batch in (first, *others) for problem in batch.replaced]
        yield whole


def _everyones(problems: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the problems of all processes, in the order of the recordings' ids."""
    if parallel.world_size() == 1:
        return sorted(set(problems))
    text = torch.frombuffer(bytearray(json.dumps(problems).encode() + b"\n"), dtype=torch.uint8)
    lines = bytes(parallel.gather(text.to(parallel.collective_device())).cpu().tolist()).splitlines()
    return sorted({(name, reason) for line in lines for name, reason in json.loads(line)})


def _gather(tensor: Tensor, device: torch.device) -> Tensor:
    """Gather a CPU tensor along its first dimension by way of the model's device, the one the backend can read."""
    carried = tensor.to(torch.uint8) if tensor.dtype is torch.bool else tensor
    return parallel.gather(carried.to(device)).cpu().to(tensor.dtype)
