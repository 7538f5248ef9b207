"""Statistics of a collection: mean and deviation of every band of its sound and every channel of its pictures.

They are what views with `normalise="statistics"` are normalised by. Values stream through in blocks, in float64 and in
the form of Chan, Golub & LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances", 1979),
so that neither the length of a block nor a large mean costs digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coview.data.processes import fresh_processes
from coview.data.source import Source, sample_keys
from coview.data.views import ViewSpec, cut_from
from coview.errors import UsageError
from coview.files import write_aside
from coview.settings import to_dict

FORMAT = 1
_STILL = 1e-6  # a deviation below this share of the mean is rounding: what never changes is divided by 1
# What of a view decides its values; how long it is and how it is augmented does not.
_DECIDES = ("stream", "sample_rate", "layout", "n_fft", "hop", "window", "mels", "space")


@dataclass
class Moments:
    """Count, mean (C,) and sum of squared deviations (C,) of rows (N, C), in float64."""

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor) -> Moments:
        """Return the moments of values (N, C)."""
        values = values.double()
        mean = values.mean(0) if len(values) else values.sum(0)
        return cls(len(values), mean, (values - mean).square().sum(0))

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        if not count:
            return self
        apart, share = other.mean - self.mean, other.count / count
        return Moments(
            count, self.mean + apart * share, self.squares + other.squares + apart.square() * (self.count * share)
        )

    @property
    def deviation(self) -> Tensor:
        """Standard deviation (C,), of the values themselves (divided by N); 1 where nothing changes."""
        deviation = (self.squares / max(self.count, 1)).sqrt()
        return torch.where(deviation > _STILL * self.mean.abs(), deviation, 1.0)


def fit_statistics(
    source: Source,
    *,
    clips: int = 1,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Moments], list[tuple[str, str]]]:
    """Return view -> moments of its bands (layout "mel": mels) or channels, of sound and pictures alike.

    Beside them the recordings that could not be read, each with the reason: they are left out.

    The values are those of unaugmented samples just before normalisation: sound at a peak of 0.95, pictures in [0, 1]
    cut to the middle. Samples whose view is absent are left out.

    Args:
        clips: cuts of every recording, placed as training places them.
        workers: processes that read; 0 reads here. The result does not depend on it, nor (to rounding) on `batch_size`.
        progress: called with (recordings done, recordings in all).

    Raises:
        UsageError: no view of the source is sound or a picture.
    """
    if not any(view.medium for view in source.views.values()):
        raise UsageError(f"{source.name}: none of the views {', '.join(source.views)} is a picture or a sound")
    tasks = [(rows, clip) for rows in torch.split(torch.arange(len(source)), batch_size) for clip in range(clips)]
    whole: dict[str, Moments] = {}
    unread: dict[str, str] = {}
    for (rows, clip), (found, problems) in zip(tasks, _read(source, tasks, seed, workers), strict=True):
        unread |= {source.ids[row]: reason for row, reason in problems}
        whole = {name: whole[name] + part if name in whole else part for name, part in found.items()}
        if clip + 1 == clips:
            progress(int(rows[-1]) + 1, len(source))
    return whole, list(unread.items())


def save_statistics(moments: Mapping[str, Moments], source: Source, path: Path) -> None:
    """Write the statistics as JSON: view -> how it is made, count, mean and deviation; numbers lose nothing."""
    views = {
        name: {
            "view": to_dict(source.views[name]),
            "count": found.count,
            "mean": found.mean.tolist(),
            "std": found.deviation.tolist(),
        }
        for name, found in moments.items()
    }
    about = {"format": FORMAT, "source": source.name, "fingerprint": source.fingerprint, "recordings": len(source)}
    write_aside(path, json.dumps({**about, "views": views}, indent=1) + "\n")


def read_statistics(path: Path, views: Mapping[str, ViewSpec]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return name -> (mean, deviation), float64 (C,), for those of `views` that are normalised by "statistics".

    Raises:
        UsageError: the file is not of `save_statistics`, lacks a view, or was fitted on views made otherwise; or no
            view is normalised by statistics.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as statistics ({error}); make them by `coview stats`") from error
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise UsageError(f"{path}: not statistics of format {FORMAT}; make them by `coview stats`")
    wanted = {name: view for name, view in views.items() if view.medium and view.statistics is not None}
    if not wanted:
        raise UsageError(f'{path}: no view would use it; set normalise to "statistics" for a view of sound or pictures')
    return {name: _take(path, stored["views"], cut_from(name, view), view) for name, view in wanted.items()}


def _take(path: Path, stored: Mapping[str, Any], name: str, view: ViewSpec) -> tuple[Tensor, Tensor]:
    if name not in stored:
        raise UsageError(f"{path}: it has no view {name!r}, only {', '.join(stored)}; fit it with this method's views")
    then, now = stored[name]["view"], to_dict(view)
    changes = [f"{key} {then.get(key)} -> {now.get(key)}" for key in _DECIDES if then.get(key) != now.get(key)]
    if changes:
        raise UsageError(f"{path}: the view {name!r} was made otherwise (there -> here): {', '.join(changes)}")
    return tuple(torch.tensor(stored[name][key], dtype=torch.float64) for key in ("mean", "std"))  # type: ignore[return-value]


Task = tuple[Tensor, int]  # recordings, and which of their cuts
Found = tuple[dict[str, Moments], list[tuple[int, str]]]  # of a task; and the recordings that could not be read


def _read(source: Source, tasks: list[Task], seed: int, workers: int) -> Iterator[Found]:
    if not workers:
        yield from (_part(source, seed, task) for task in tasks)
        return
    with ProcessPoolExecutor(workers, fresh_processes(), _start, (source, seed)) as pool:
        yield from pool.map(_here, tasks)


_given: tuple[Source, int]  # of a reading process: sent once, not with every task


def _start(source: Source, seed: int) -> None:
    global _given
    torch.set_num_threads(1)
    _given = source, seed


def _here(task: Task) -> Found:
    return _part(*_given, task)


def _part(source: Source, seed: int, task: Task) -> Found:
    rows, clip = task
    batch = source.read(rows, sample_keys(seed, clip, rows))
    own = ~torch.isin(rows, torch.tensor([row for row, _ in batch.replaced], dtype=torch.int64))
    moments = {
        name: Moments.of(values)
        for name, view in source.views.items()
        if view.medium and (values := view.values(batch.views[name][batch.present[name] & own])) is not None
    }
    return moments, batch.replaced
