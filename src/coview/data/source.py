"""A source of samples: media files, a memory-mapped set, or a procedural world, behind one small interface."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.views import Batch, ViewSpec
from coview.media.cuts import Excerpt
from coview.randomness import make_key


class Source(Protocol):
    """Recordings that can be cut into views; a plain picklable object, so that worker processes can hold it.

    Attributes:
        name: what reports call it, such as "clips/" or "digits-av:A".
        labels: int64 (rows,), -1 where unlabelled.
        classes: names of the labels, in label order; empty where there are none.
        fingerprint: hash of the ordered ids and of how they are made; a checkpoint refuses another one.

    A source of files also has `digests` and `contents`: by row the digest of the file's bytes and of what it shows and
    sounds like, or None where these are not known (`leaks.shared` compares them), and `groups`, by row
    a name that recordings of one thing share ("" for none). `lacking` says of every view how many recordings have
    nothing it could be cut from.
    """

    name: str
    labels: Tensor
    classes: list[str]
    fingerprint: str

    @property
    def ids(self) -> list[str]:
        """The recordings' ids in order; read-only, so that a list will do."""
        ...

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """What is cut from every recording; read-only, so that a dict will do."""
        ...

    def __len__(self) -> int: ...

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """Cut raw views of the recordings `row` (int64 (B,)); where, is drawn from `key` (int64 (B,)).

        A recording that cannot be read is replaced by another, drawn from its key, and listed in `Batch.replaced`.
        The batch does not depend on which samples are read together. A source for which it is less work to read those
        of one recording together says so by an attribute `in_one_pass` that is True.
        """
        ...

    def windows(self, count: int) -> int:
        """Return how many evenly spaced cuts per recording evaluation can have when it asks for `count`."""
        ...

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Cut the `window`-th of `count` evenly spaced raw views of each recording; nothing is random or replaced.

        A recording that cannot be read has `present` False for that view and is listed in `Batch.replaced`.
        """
        ...


def narrowed(source: Source, views: Collection[str]) -> Source:
    """Return a source that reads some of its views alone, each exactly as it would among all of them.

    Where a source has no way to read less (`narrowed(views)`), it stays as it is and reads all.
    """
    narrow = getattr(source, "narrowed", None)
    part: Source = source if narrow is None else narrow(views)
    return part


def cropped(source: Source, views: Mapping[str, ViewSpec], augment: AugmentSettings) -> Source:
    """Return a source for training in these views, which cuts their random crops from the files themselves.

    Moments, keys and boxes are those that `Preprocess` would draw; what it does not find cut it crops. Where a source
    has no way to do so (`cropped(views, augment)`), as where its pictures are made or stored, it stays as it is.
    """
    crop = getattr(source, "cropped", None)
    part: Source = source if crop is None else crop(views, augment)
    return part


def read_windows(source: Source, row: Tensor, windows: Sequence[int], count: int) -> list[Batch]:
    """Return `read_window` of several windows; to the bit, in one pass over each file where a source knows how."""
    together = getattr(source, "read_windows", None)
    if together is None:
        return [source.read_window(row, window, count) for window in windows]
    batches: list[Batch] = together(row, windows, count)
    return batches


def excerpt(source: Source, row: int, seconds: float, side: int) -> Excerpt:
    """Return a piece of a recording to look at and listen to, `seconds` of it at most.

    A source that knows how (`excerpt(row, seconds, side)`) gives the recording itself, pictures up to `side` pixels.
    Of others it is what a model is given: the first window, as the views cut it; `whole` is then None.

    Raises:
        MediaError: the recording cannot be read.
    """
    own = getattr(source, "excerpt", None)
    if own is not None:
        made: Excerpt = own(row, seconds, side)
        return made
    return as_given(source, row)


def as_given(source: Source, row: int) -> Excerpt:
    """Return what a model is given of a recording: the picture and the sound of the first window, as views cut them."""
    batch = source.read_window(torch.tensor([row]), 0, 1)
    here = [(view, batch.views[name][0]) for name, view in source.views.items() if bool(batch.present[name][0])]
    frames, fps = next((film for view, raw in here if (film := view.film(raw))), (None, None))
    waveform, rate = next((sound for view, raw in here if (sound := view.sound(raw))), (None, None))
    long = [len(waveform) / rate] if waveform is not None and rate else []
    long += [frames.shape[1] / fps] if frames is not None and fps and frames.shape[1] > 1 else []
    return Excerpt(frames, fps, waveform, rate, max(long, default=0.0), None)


def blank(views: Mapping[str, ViewSpec], row: Tensor, key: Tensor) -> Batch:
    """Return a batch of raw views, on the device of `row`, in which nothing is present yet: all of it is zero."""
    count, device = len(row), row.device
    return Batch(
        views={name: view.room(count).zero_().to(device) for name, view in views.items()},
        row=row,
        key=key,
        start={name: torch.zeros(count, dtype=torch.float64, device=device) for name in views},
        present={name: torch.zeros(count, dtype=torch.bool, device=device) for name in views},
        length={name: torch.zeros_like(row) for name, view in views.items() if view.sequence},
    )


def sample_keys(seed: int, epoch: int, position: Tensor) -> Tensor:
    """Return the int64 keys of samples from (seed, epoch, position), shape of `position`."""
    return make_key(torch.tensor(seed), torch.tensor(epoch), position)
