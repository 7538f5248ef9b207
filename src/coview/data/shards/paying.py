"""Whether storing films pays: what reading and storing cost, from the key frames, sizes and lengths that are indexed.

Milliseconds of one processor core, fitted to 24 films of 340 x 256 and 10 s (docs/performance.md). They are for a
decision and a sentence, not for a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from coview.data.media_source import MediaSource
from coview.data.shards.layout import PrepareSettings
from coview.data.tables import in_one_piece
from coview.data.views import ViewSpec
from coview.errors import UsageError

_OPEN = 13.0  # opening a file, its sound, and the pictures of the sample itself
_DECODE = 0.19  # a frame of 340 x 256 pixels
_ENCODE = 0.65  # a picture of 170 x 128 as JPEG
_STORED = 1.5  # a sample that is read from what is stored
_PICTURE_BYTES, _SOUND_BYTES = 0.35, 1.4  # of a pixel as JPEG, of a sample as FLAC


@dataclass(frozen=True)
class Balance:
    """What storing costs and saves.

    Attributes:
        reads: samples that the run reads.
        saved, spent: milliseconds that reading what is stored saves, and that storing costs.
        bytes: what all clips take.
    """

    reads: int
    saved: float
    spent: float
    bytes: int

    @property
    def pays(self) -> bool:
        """Whether more is saved than spent."""
        return self.saved > self.spent


def cut_of(views: Mapping[str, ViewSpec]) -> PrepareSettings:
    """Return the settings of a copy that all views can be cut from.

    Raises:
        UsageError: there is no such copy; says why.
    """
    fixed = [view.stored for view in views.values()]
    sizes = sorted({one["decode_size"] for one in fixed if "decode_size" in one})
    rates = sorted({one["sample_rate"] for one in fixed if "sample_rate" in one})
    if not sizes:
        raise UsageError("no view shows a picture")
    if len(sizes) > 1 or len(rates) > 1:
        raise UsageError(f"views want more than one size or rate ({', '.join(map(str, [*sizes, *rates]))})")
    fps = max(float(one["fps"]) for one in fixed if "decode_size" in one)
    usual = PrepareSettings()
    settings = PrepareSettings(fps=fps, size=sizes[0], sample_rate=rates[0] if rates else usual.sample_rate)
    wrong = [f"{name}: {why}" for name, view in views.items() for why in view.unlike(vars(settings))]
    if wrong:
        raise UsageError("; ".join(wrong))
    return settings


def knows_digests(source: MediaSource) -> bool:
    """Tell whether the digest of every film's file is known, without a list of a million of them."""
    column = source.column("digest")
    return column is not None and not column.null_count and not pc.any(pc.equal(column, "")).as_py()


def balance(source: MediaSource, settings: PrepareSettings, reads: int) -> Balance:
    """Return what storing all films of a source would cost and save in a run of `reads` samples."""
    start, end, fps, width, height = (_numbers(source, name) for name in ("start", "end", "fps", "width", "height"))
    seconds, fps, pixels = np.maximum(end - start, 0.0), np.maximum(fps, 1.0), np.maximum(width * height, 1.0)
    short = np.maximum(np.minimum(width, height), 1.0)
    gap = seconds * fps / np.maximum(_numbers(source, "keyframe_seconds"), 1.0)
    film = seconds > 0
    decode, small = _DECODE * pixels / (340 * 256), pixels * (settings.size / short) ** 2
    read = _OPEN + decode * gap / 2
    store = seconds * (fps * decode + settings.fps * _ENCODE * small / (170 * 128))
    size = seconds * (settings.fps * _PICTURE_BYTES * small + _SOUND_BYTES * settings.sample_rate)
    saved = np.where(film, read - _STORED, 0.0).mean() * reads
    clips = np.maximum(1.0, np.rint(seconds / settings.seconds))
    share = np.minimum(1.0, reads / len(source) / clips)  # of a long film a short run reads, and stores, a part
    return Balance(reads, float(saved), float((store * share).sum()), int((size * share).sum()))


def _numbers(source: MediaSource, name: str) -> NDArray[np.float64]:
    """Return a column of the collection; of lists, how long they are."""
    column = source.column(name)
    if column is None:
        raise UsageError(f"{source.name}: the collection is not there any more")
    lists = pa.types.is_list(column.type)
    values = pc.list_value_length(in_one_piece(column)) if lists else column
    return np.asarray(pc.fill_null(values, 0).to_numpy(), np.float64)
