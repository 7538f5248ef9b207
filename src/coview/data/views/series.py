"""Series: numbers in time from a table beside a recording, such as actions, states or a sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.tracks import read_series
from coview.data.views.kinds import register_view
from coview.data.views.made import Made
from coview.data.views.numbers import NumbersView
from coview.errors import MediaError
from coview.media.cuts import SAME_INSTANT, Window

if TYPE_CHECKING:
    from coview.data.timeline import Timeline, Timelines


@register_view
@dataclass(frozen=True, kw_only=True)
class SeriesView(NumbersView):
    """Rows of a table, one for each step in time; cut by seconds as pictures and sound are.

    Step k is the row that holds at start + k / rate: the last one that begins at or before it. Rows without a time
    follow each other at `rate`, from second 0 on. Raw and model: float32 (steps, dim); steps past the end of the table
    are zero, and `Batch.length` says how many are valid.
    """

    stream: Literal["series"] = "series"  # rows of a table in time
    dim: int  # numbers in a row
    steps: int = 8  # rows of a view
    rate: float = 16.0  # steps per second
    track: str = "actions"  # which table of the recording
    with_: str | None = None  # a view whose moment it shares, such as the film that the actions belong to
    normalise: Literal["none", "statistics"] = "none"  # as they are, or each number by its mean and deviation

    def __post_init__(self) -> None:
        if self.dim < 1 or self.steps < 1 or self.rate <= 0 or not self.track:
            raise ValueError("a series view needs dim >= 1, steps >= 1, rate > 0 and the name of a track")

    @property
    def seconds(self) -> float:
        """How much time the steps cover."""
        return self.steps / self.rate

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return self.steps, self.dim

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"dim": self.dim, "steps": self.steps, "rate": self.rate, "track": self.track}

    @property
    def sequence(self) -> bool:
        """Whether it has steps: it does."""
        return True

    def has(self, recordings: Timelines) -> NDArray[np.bool_]:
        """See `ViewSpec.has`."""
        return recordings.has_track(self.track)

    def load(self, recording: Timeline, path: Path | None, start: float, window: Window) -> tuple[Tensor, int] | None:
        """See `ViewSpec.load`."""
        assert path is not None
        values, times = read_series(path)
        if values.shape[1] != self.dim:
            raise MediaError(
                str(path), "other-columns", f"it has {values.shape[1]} numbers per row, {self.dim} are wanted"
            )
        wanted = start + np.arange(self.steps) / self.rate + SAME_INSTANT
        if times is None:
            place, valid = np.floor(wanted * self.rate).astype(int), wanted < len(values) / self.rate
        else:
            last = times[-1] + 1 / self.rate  # the last row holds for a step
            place, valid = np.searchsorted(times, wanted, side="right") - 1, wanted < last
        steps = int(valid.sum())
        if not steps:
            return None
        raw = torch.zeros(self.raw_shape)
        raw[:steps] = torch.from_numpy(values[place.clip(0, len(values) - 1)[:steps]])
        return raw, steps

    def misfit(self, made: Made) -> str | None:
        """See `ViewSpec.misfit`."""
        if self.track not in made.tracks:
            return f"a world has no table {self.track!r} beside its clips; there are {', '.join(made.tracks) or 'none'}"
        if self.dim != made.tracks[self.track]:
            return f"its {self.track!r} are {made.tracks[self.track]} numbers at a step, {self.dim} are wanted"
        if made.places(self.steps, self.rate)[-1] >= made.frames:
            return (
                f"{self.steps} steps at {self.rate:g} per second do not fit into {made.frames} at {made.fps:g} per "
                "second; ask for fewer steps"
            )
        return None

    def from_clips(self, clips: Mapping[str, Tensor], made: Made, where: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `ViewSpec.from_clips`."""
        table = clips[self.track]
        picked = made.picked(made.places(self.steps, self.rate), where, table)
        return table.gather(1, picked[..., None].expand(-1, -1, self.dim)), picked[:, 0].double() / made.fps

    def __str__(self) -> str:
        return f"{self.steps} steps of {self.dim} numbers at {self.rate:g} per second, from {self.track!r}"
