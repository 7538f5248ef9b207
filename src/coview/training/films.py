"""Films of a run: read through the cache where that pays, and said in a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch

from coview import parallel
from coview.data.media_source import MediaSource
from coview.data.shards.cached import CachedSource
from coview.data.shards.films import Films, default_folder
from coview.data.shards.paying import Balance, balance, cut_of, knows_digests
from coview.data.source import Source, cropped
from coview.data.views import ViewSpec
from coview.errors import SettingsError, UsageError
from coview.progress import duration
from coview.training.settings import RunSettings

_WORTH = 5_000.0  # milliseconds saved, below which nothing is stored unasked


def through_cache(
    settings: RunSettings, source: Source, views: Mapping[str, ViewSpec], before: str | None = None
) -> tuple[RunSettings, Source, str]:
    """Return the settings with "auto" replaced, the source that a run reads, and what is said of it ("": nothing).

    What is decided follows from the settings, the collection and the disk alone, and is the same on all processes,
    which must all call it.

    Args:
        before: what was decided when the run began.

    Raises:
        SettingsError: films are to be stored, and cannot be.
    """
    asked = before if settings.train.films == "auto" and before else settings.train.films
    try:
        if asked == "direct":
            return _with(settings, "direct"), source, ""
        if type(source) is not MediaSource:
            raise UsageError(f"{source.name} holds no films that are decoded")
        films, told = _plan(settings, source)
        if asked == "auto":
            reason = _against(settings, source, views, films, told)
            if reason is not None:
                return _with(settings, "direct"), source, reason
    except UsageError as error:
        if asked == "stored":
            raise SettingsError([f"train.films: films cannot be stored: {error}"]) from error
        return _with(settings, "direct"), source, ""
    films.open()
    return _with(settings, "stored"), CachedSource(source, films), _sentence(films.folder, told)


def _with(settings: RunSettings, films: str) -> RunSettings:
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, films=films))  # type: ignore[arg-type]


def _plan(settings: RunSettings, source: MediaSource) -> tuple[Films, Balance]:
    cut, train = cut_of(source.views), settings.train
    if not knows_digests(source):
        raise UsageError(f"{source.name} does not know the digests of its files; index them again")
    epoch = len(source) * settings.clips_per_recording
    reads = train.epochs * epoch if train.steps is None else train.steps * train.batch_size
    return Films(default_folder(), cut, int(train.films_gb * 1e9)), balance(source, cut, reads)


def _against(
    settings: RunSettings, source: MediaSource, views: Mapping[str, ViewSpec], films: Films, told: Balance
) -> str | None:
    """Return why films are not stored unasked, "" where that needs no words; None where they are."""
    if not told.pays or told.saved - told.spent < _WORTH:
        return ""
    if cropped(source, views, settings.augment) is not source:
        return (
            "Random crops are cut from the films themselves, as sharp as they are; --train.films stored would save "
            f"about {_time(told)} of a processor, with crops of pictures of {films.settings.size} pixels "
            "(docs/performance.md)"
        )
    room = torch.tensor([told.bytes <= films.room() + films.there()], device=parallel.collective_device())
    if not bool(parallel.gather(room.to(torch.uint8)).all()):
        return (
            f"Films are decoded anew each time: storing them would save about {_time(told)} of a processor, but takes "
            f"{_size(told)} in {films.root}, and there is no room (`coview prepare --list`, --train.films-gb)"
        )
    return None


def _sentence(folder: Path, told: Balance) -> str:
    saved = f", which saves about {_time(told)} of a processor" if told.pays else ""
    return (
        f"Films are decoded once and stored{saved}: up to {_size(told)} in {folder} (--train.films direct stores none; "
        "`coview prepare --remove` removes it)"
    )


def _time(told: Balance) -> str:
    return duration((told.saved - told.spent) / 1000)


def _size(told: Balance) -> str:
    return f"{told.bytes / 1e9:.2g} GB" if told.bytes >= 1e8 else f"{told.bytes / 1e6:.0f} MB"
