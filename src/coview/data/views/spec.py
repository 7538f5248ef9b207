"""What every kind of view says about itself: the one place that a new kind is written against.

A kind is a frozen dataclass below `ViewSpec`, in a file of its own, made known by `register_view` (`kinds.py`). Nothing
outside this folder asks of which kind a view is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from coview.data.augment.settings import AugmentSettings
from coview.data.views.kinds import kind_of
from coview.data.views.made import Made
from coview.errors import UsageError
from coview.media.cuts import AudioCut, Crop, VideoCut, Window
from coview.randomness import normal

if TYPE_CHECKING:
    from coview.data.timeline import Timeline, Timelines

Span = tuple[float, float]
Statistics = tuple[Tensor, Tensor]  # mean and deviation (C,): a number for each channel, band or feature


@dataclass(frozen=True, kw_only=True)
class ViewSpec(ABC):
    """How one view is cut from a recording, prepared, filled where it is absent, shown and stored.

    Raw views are what sources read and loaders carry; model views are what a method sees. A view of 0 seconds has no
    place in time: it belongs to the whole recording.

    Attributes:
        stream: the kind's short name, by which settings choose it.
        dtype, stored_dtype: of raw views, and of raw views in a memory-mapped set.
        medium: what a media file is decoded to for it; None where nothing is decoded.
        alone: whether each view of this kind says something of its own, as two encoders' features do, where pictures
            or sounds of one recording belong together.
    """

    stream: str

    dtype: ClassVar[torch.dtype] = torch.float32
    stored_dtype: ClassVar[type[np.generic]] = np.float32
    medium: ClassVar[Literal["picture", "sound"] | None] = None
    alone: ClassVar[bool] = False

    @classmethod
    def kind_of(cls, fields: Mapping[str, Any]) -> type[ViewSpec]:
        """Return the class that plain data is to be read as: this one, or where it stands for several, by `stream`."""
        return kind_of(cls, fields)

    # Shapes, and what is fixed once a view is stored

    @property
    @abstractmethod
    def seconds(self) -> float:
        """How much time it covers; 0 where it has no place in time."""

    @property
    @abstractmethod
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""

    @property
    @abstractmethod
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""

    @property
    def raw_bytes(self) -> int:
        """Bytes of one raw view."""
        return math.prod(self.raw_shape) * self.dtype.itemsize

    @property
    def square(self) -> tuple[int, int] | None:
        """Decoded and model side in pixels, of what is a square picture or a clip of such; else None."""
        return None

    @property
    def sequence(self) -> bool:
        """Whether it has steps, of which `Batch.length` says how many are valid."""
        return False

    # Names of the views and files that it depends on

    @property
    def after(self) -> tuple[float, float] | None:
        """Seconds after the sample's first picture, drawn uniformly; None where it is no later clip."""
        return None

    @property
    def of(self) -> str | None:
        """The view that it is another crop of."""
        return None

    @property
    def with_(self) -> str | None:
        """The view that it shares the moment, the crop and every other random choice with."""
        return None

    @property
    def track(self) -> str | None:
        """The recording's further file that it is cut from; None for the recording's own."""
        return None

    # Recordings: which have it, and from when to when

    @abstractmethod
    def has(self, recordings: Timelines) -> NDArray[np.bool_]:
        """Return bool (rows,): which recordings it can be cut from."""

    def span(self, recording: Timeline) -> Span:
        """Return the seconds that it can be cut from: its stream, inside the recording's span."""
        return recording.span(self.medium)

    def short(self, recordings: Timelines) -> NDArray[np.bool_]:
        """Return bool (rows,): whose stream is shorter than the view; a still, which has no length, never is."""
        begin, end = recordings.span(self.medium)
        slack = min(0.01, self.seconds)  # the headers of good files are off by less
        return self.has(recordings) & ~recordings.still & (end - begin < self.seconds - slack)

    def small(self, recordings: Timelines) -> NDArray[np.bool_]:
        """Return bool (rows,): whose picture is smaller than the view and is enlarged for it; here none."""
        return np.zeros(len(recordings), dtype=bool)

    def window_start(self, span: Span, share: float) -> float:
        """Return where the view starts that lies at `share` (0 to 1) of the room it has in `span`."""
        return span[0] + max(0.0, span[1] - span[0] - self.seconds) * share

    # Cutting

    def crops(self, key: Tensor, augment: AugmentSettings) -> list[Crop] | None:
        """Return the random crop of the frame that is drawn from each key (B,); None where it cuts none from a file.

        Args:
            augment: the run's, with this view's own changes.
        """
        return None

    @property
    def cropped(self) -> ViewSpec:
        """The view whose raw form is its random crop alone, not what room for it is left in."""
        return self

    def cut(self, start: float, window: Window) -> VideoCut | AudioCut | None:
        """Return what a decoder is asked for, from second `start`; None where nothing is decoded.

        Args:
            window: of a wide or high picture, which square of it, 0 to 1; or a crop of it.
        """
        return None

    def load(self, recording: Timeline, path: Path | None, start: float, window: Window) -> tuple[Tensor, int] | None:
        """Return what is not decoded: the raw view and how many of its steps are valid (0 where it has none).

        None where the recording has nothing there.

        Args:
            path: the file of the view's `track`; None where it names none.

        Raises:
            MediaError: the file cannot be read, with a reason word.
        """
        return None

    def room(self, count: int) -> Tensor:
        """Return memory for `count` raw views, to be filled; in a loader's worker it is shared with the trainer."""
        return shared(torch.empty(count, *self.raw_shape, dtype=self.dtype))

    def misfit(self, made: Made) -> str | None:
        """Return why it cannot be cut from a world's clips; None where it can."""
        return f"a world has pictures and sounds, and no {self.stream}"

    def from_clips(self, clips: Mapping[str, Tensor], made: Made, where: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return raw views cut from a world's clips, and where they start (seconds).

        Args:
            clips: "video" uint8 (B, 3, frames, S, S), "audio" float32 (B, samples), tracks float32 (B, frames, N).
            where: int64 (B,), keys that the place is drawn from; None starts at the clips' beginning.
        """
        raise UsageError(str(self.misfit(made)))

    # On the device

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """Return model views of raw ones (B, ...); all rows are there.

        Args:
            key: int64 (B,), from which every random factor is drawn; None changes nothing.
            mirrorable: bool (B,), where left and right may be exchanged.
            augment: the run's, with this view's own changes.
            statistics: what it is normalised by, where `statistics` says that it is.
        """
        return raw

    def fill(self, made: Tensor, present: Tensor) -> Tensor:
        """Return (B, ...) with the rows `made` where `present` (bool (B,)) is true, in order; the others are zero."""
        whole = made.new_zeros(len(present), *made.shape[1:])
        whole[present] = made
        return whole

    @property
    def nothing(self) -> Tensor:
        """No model view at all: (0, *shape)."""
        return torch.zeros(0, *self.shape)

    @property
    def statistics(self) -> Statistics | None:
        """What it is normalised by until the data's own are known; None where no statistics are used."""
        return None

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation of each channel, of values in 0 to 1, by which every view is scaled; None: by no such."""
        return None

    def values(self, raw: Tensor) -> Tensor | None:
        """Return (N, C): what statistics are taken of, unaugmented, just before normalisation; None for no numbers."""
        return None

    def changed(self, augment: AugmentSettings) -> AugmentSettings:
        """Return the augmentation of this view: the run's, with the view's own changes."""
        return augment

    def made_up(self, key: Tensor, stream: int) -> Tensor:
        """Return model views (B, ...) drawn from keys (B,): numbers of the right shape, for tests and first passes."""
        return normal(key, stream, *self.shape)

    def spell(self, text: str) -> Tensor | None:
        """Return the raw view of a text; None for what is no words."""
        return None

    # Shown: of one sample, None for what it is not

    def film(self, raw: Tensor) -> tuple[Tensor, float] | None:
        """Return the frames of a raw view, uint8 (3, T, H, W), and their rate."""
        return None

    def sound(self, raw: Tensor) -> tuple[Tensor, int] | None:
        """Return the waveform of a raw view, float32 (samples,), and its rate."""
        return None

    def words(self, raw: Tensor) -> str | None:
        """Return the text of a raw view."""
        return None

    def picture(self, raw: Tensor) -> Tensor | None:
        """Return a picture that stands for a raw view, float32 (3, H, W) in [0, 1]."""
        return None

    def strip(self, value: Tensor) -> Tensor | None:
        """Return a model view as one picture, float32 (3, H, W) in any range."""
        return None

    # Stored

    def pack(self, raw: Tensor) -> Tensor:
        """Return raw views as a memory-mapped set keeps them."""
        return raw

    def unpack(self, stored: Tensor) -> Tensor:
        """Return the raw views that `pack` was given, to its precision."""
        return stored

    def unlike(self, prepared: Mapping[str, Any]) -> list[str]:
        """Return why it cannot be cut from a prepared copy with these settings (`PrepareSettings`)."""
        return [f"files beside the recording are not stored, and it wants {self.track!r}"] if self.track else []


def shared(room: Tensor) -> Tensor:
    """Return memory that goes to the training process as it is: a copy would double a window's memory."""
    if get_worker_info() is not None:
        room.share_memory_()  # type: ignore[no-untyped-call]
    return room
