"""Prepared shards as a source: samples are placed as in media files, and a few members of a tar are read for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from coview.data.augment.settings import AugmentSettings
from coview.data.collection import Collection
from coview.data.cutting import Sample
from coview.data.media_source import MediaSource
from coview.data.recording import Split
from coview.data.shards.checks import read_card, read_tables
from coview.data.shards.encode import Picture, clip_of, inside, numbers_of
from coview.data.shards.layout import BLOCK
from coview.data.shards.tars import Clips, Members, Tars
from coview.data.source import as_given
from coview.data.timeline import Timeline
from coview.data.views import AudioView, VideoView, ViewSpec
from coview.errors import UsageError
from coview.media import jpeg
from coview.media.cuts import AudioCut, Excerpt, Sound, VideoCut
from coview.media.decode import Read
from coview.media.flac import FlacDecoder
from coview.media.waveform import to_float
from coview.randomness import integers

_CLIP = 600  # stream of a sample's key that chooses the stored clip of a recording that has several


class ShardSource(MediaSource):
    """A prepared copy of a collection; implements `Source`.

    Samples have the rows, keys and starts that the collection itself gives them, and a recording that is stored as one
    clip is cut at the same seconds as its file. A stored clip is a film at its own rate: frame k of a view is the
    stored frame shown at start + k / fps. Of a recording that is stored as several clips, the key chooses one, and
    all views lie inside it.

    Args:
        folder: as `coview prepare` wrote it.
        views: what is cut; the decoded size of pictures and the sample rate must be those stored, pictures may be
            wanted at a lower rate. None stands for 8 frames and 2 seconds of sound as they are stored.
        split, fold: the part of the collection, as in `Collection.select`; None takes all.
        off_sync: how far picture and sound of one sample may be apart, in seconds.

    Raises:
        UsageError: no prepared copy, an unfinished one, or one that these views cannot be cut from.
    """

    in_one_pass = False  # each frame is stored for itself

    def __init__(
        self,
        folder: Path | str,
        views: Mapping[str, ViewSpec] | None = None,
        split: Split | None = None,
        fold: int | None = None,
        off_sync: float = 0.5,
    ) -> None:
        self.folder = Path(folder)
        card = read_card(self.folder)
        stored = card["settings"]
        views = dict(views) if views else _default_views(stored)
        _check_views(self.folder, views, stored)
        recordings, clips = read_tables(self.folder, card)
        whole = Collection(self.folder, recordings, card)
        super().__init__(whole.select(split=split, fold=fold), views, off_sync)
        number = {name: row for row, name in enumerate(whole.ids)}
        self._row = np.array([number[name] for name in self.ids])
        self._clips = Clips.of(clips, len(whole))
        self._tars = Tars(self.folder, stored)
        self._decode_sound = FlacDecoder()

    def excerpt(self, row: int, seconds: float, side: int) -> Excerpt:
        """Return what a model is given: the files themselves may not be here any more."""
        return as_given(self, row)

    def cropped(self, views: Mapping[str, ViewSpec], augment: AugmentSettings) -> Self:
        """Return the source itself: crops are made of the stored squares, on the device."""
        return self

    def _recording(self, index: int, key: Tensor) -> Timeline:
        first, last = self._clips.of_row(self._row[index])
        return self._part(index, first + (int(integers(key, _CLIP, last - first)) if last - first > 1 else 0))

    def _recording_at(self, index: int, window: int, count: int) -> tuple[Timeline, int, int]:
        first, last = self._clips.of_row(self._row[index])
        clips = last - first
        clip = window * clips // count if count > 1 else clips // 2
        inside = [w for w in range(count) if w * clips // count == clip] if count > 1 else [0]
        return self._part(index, first + clip), inside.index(window), len(inside)

    def _part(self, index: int, clip: int) -> Timeline:
        start, end = float(self._clips.start[clip]), float(self._clips.end[clip])
        return dataclasses.replace(self._recordings[index], start=start, end=end)

    def _read_samples(self, index: int, samples: Sequence[Sample]) -> list[Read]:
        return [self._read_cuts(index, sample) for sample in samples]

    def _read_cuts(self, index: int, sample: Sample) -> Read:
        members = self._tars.members(self._clips, self._clip_of(index, sample), self.ids[index])
        return [
            (self._pictures(members, video) if video else None, self._sound(members, audio) if audio else None)
            for video, audio in sample.cuts
        ]

    def _clip_of(self, index: int, sample: Sample) -> int:
        """Return the stored clip that a sample lies in."""
        first, last = self._clips.of_row(self._row[index])
        return first + int(np.argmin(np.abs(self._clips.start[first:last] - sample.recording.start)))

    def _pictures(self, members: Members, cut: VideoCut) -> Tensor | None:
        """Return the frames shown at the cut's instants, uint8 (3, count, size, size); None where none are stored."""
        about = members.about
        if "frame_bytes" not in about:
            return None
        sizes = about["frame_bytes"]
        wanted = numbers_of(cut, about["picture_start"], len(sizes), about["fps"])
        first, end = members.pictures[wanted[0]], members.pictures[wanted[-1]] + BLOCK + sizes[wanted[-1]]
        data, name = self._tars.read(members.shard, first, end - first), self._tars.name(members.shard)
        pictures: dict[int, Picture] = {}
        for number in wanted:
            if number not in pictures:
                at = members.pictures[number] + BLOCK - first
                pictures[number] = jpeg.decode(data[at : at + sizes[number]], about["width"], about["height"], name)
        return clip_of(cut, [pictures[number] for number in wanted])

    def _sound(self, members: Members, cut: AudioCut) -> Sound | None:
        """Return the waveform from the cut's start; zero where nothing is stored, None where nothing at all is."""
        about = members.about
        if "samples" not in about:
            return None
        out = torch.zeros(cut.samples)
        block, ends = about["flac_block"], members.sounds
        begin, low, high = inside(cut, about["first_sample"], about["samples"])
        if low >= high:
            return Sound(out, 0)
        first, last = low // block, (high - 1) // block + 1
        offset = members.offset + BLOCK + about["flac_header"] + ends[first]
        data = self._tars.read(members.shard, offset, ends[last] - ends[first])
        samples = self._decode_sound([data], self._tars.name(members.shard))
        samples = samples[low - first * block : high - first * block]
        if len(samples) < high - low:
            raise self._tars.damaged(members.shard, f"the sound at {offset} is shorter than its table says")
        out[low - begin : high - begin] = to_float(torch.from_numpy(samples))
        return Sound(out, high - low)


def _default_views(stored: Mapping[str, Any]) -> dict[str, ViewSpec]:
    video = VideoView(fps=stored["fps"], size=stored["size"], margin=1.0)
    return {"video": video, "audio": AudioView(sample_rate=stored["sample_rate"])}


def _check_views(folder: Path, views: Mapping[str, ViewSpec], stored: Mapping[str, Any]) -> None:
    problems = []
    for name, view in views.items():
        problems += [f"{name}: {reason}" for reason in view.unlike(stored)]
    if problems:
        raise UsageError(f"{folder}: prepare the collection again for these views:\n  - " + "\n  - ".join(problems))
