"""Films read once: a source that stores what it decodes, clip by clip, and reads what is stored as prepared shards."""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import Tensor

from coview.data.cutting import Sample
from coview.data.media_source import MediaSource
from coview.data.recording import Recording
from coview.data.shards.encode import encode, read_as_stored
from coview.data.shards.films import Encoded, Films, FilmTars
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.read import ShardSource
from coview.data.shards.tars import Clips
from coview.data.timeline import Timelines
from coview.data.views import Batch
from coview.errors import MediaError
from coview.media.cuts import Excerpt
from coview.media.decode import Read
from coview.media.flac import FlacDecoder


class CachedSource(ShardSource):
    """A collection's films, read through a cache; implements `Source`.

    Batches are to the bit those of a prepared copy with the cache's settings, from the first on, whatever is stored
    already and however much has room: a clip that is not there is decoded as a whole and stored, then read; where
    nothing can be written, or the clip cannot be read throughout (a copy leaves it out), what the sample shows goes
    through the same JPEG and 16 bits. A recording whose file is gone or changed is a problem as without the cache, be
    its clips stored or not.

    Args:
        source: the collection's films. Their digests have to be known.
        films: where clips are stored, with settings that the views can be cut from.
    """

    def __init__(self, source: MediaSource, films: Films) -> None:
        vars(self).update(vars(source))
        self.folder, self.films = films.folder, films
        self._clips, self._row = _clips_of(self._recordings, films.settings), np.arange(len(source))
        self._tars = self._films = FilmTars(films.folder, dataclasses.asdict(films.settings))
        self._decode_sound = FlacDecoder()
        self._partly: set[int] = set()  # clips that cannot be stored, for some of it cannot be read

    def excerpt(self, row: int, seconds: float, side: int) -> Excerpt:
        """Return a piece of a recording's own file for people; see `read_excerpt`."""
        return MediaSource.excerpt(self, row, seconds, side)

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`; a batch says when storing had to end."""
        batch = super().read(row, key)
        if self.films.closed is not None:
            batch.said = [
                f"{self.films.closed}: no more films are stored. What is stored is read on; all else is decoded anew "
                "each time, to the same bits"
            ]
        return batch

    def _read_cuts(self, index: int, sample: Sample) -> Read:
        path, clip = self._rows.path(index), self._clip_of(index, sample)
        if self._films.knows(clip):
            try:
                return super()._read_cuts(index, sample)
            except MediaError:  # removed or damaged since
                self._films.forget(clip)
        span = float(self._clips.start[clip]), float(self._clips.end[clip])
        number, recording = int(self._clips.clip[clip]), self._recording_of(index)
        place = self.films.place([number, span, dataclasses.asdict(recording)])

        def make() -> Encoded:
            made = encode(path, dataclasses.replace(recording, id=place.stem), number, span, self.films.settings)
            self._rows.path(index)  # it has not changed meanwhile
            return made

        for _ in range(0 if clip in self._partly else 2):
            try:
                if not self.films.store(place, number, make):
                    break
            except MediaError:
                self._partly.add(clip)
                break
            try:
                self._clips.bytes[clip], self._clips.json_bytes[clip] = self._films.look(clip, place)
                self._films.members(self._clips, clip, place.stem)
                return super()._read_cuts(index, sample)
            except MediaError:  # damaged: it is made again, once
                self._films.forget(clip)
                place.unlink(missing_ok=True)
        return read_as_stored(self._rows.path(index), recording, span, self.films.settings, sample.cuts)

    def _recording_of(self, index: int) -> Recording:
        """Return what the stored clips of a recording follow from: its bytes and its streams, not its name or label."""
        known, rows = self._recordings[index], self._rows
        return Recording(
            id="",
            path="",
            start=known.start,
            end=known.end,
            duration=known.end - known.start,
            has_video=bool(self._recordings.has_video[index]),
            has_audio=bool(self._recordings.has_audio[index]),
            silent=bool(self._recordings.silent[index]),
            video_start=known.video_start,
            video_end=known.video_end,
            audio_start=known.audio_start,
            audio_end=known.audio_end,
            bytes=known.file.bytes,
            digest=rows.digest(index) or "",
            flags=tuple(f"sequential-{kind}" for kind in rows.sequential(index)),
        )


def _clips_of(recordings: Timelines, settings: PrepareSettings) -> Clips:
    """Return the table of all clips, as `layout.spans` cuts them; where each lies is not known yet."""
    start, end = recordings.span(None)
    whole = end - start
    counts = np.maximum(1, np.rint(whole / settings.seconds)).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(counts)])
    clip = np.arange(first[-1]) - np.repeat(first[:-1], counts)
    base, length = np.repeat(start, counts), np.repeat(whole / counts, counts)
    begins, ends = base + clip * length, base + (clip + 1) * length
    ends[first[1:] - 1] = end
    number = np.arange(first[-1])
    return Clips(first, clip, begins, ends, number, np.zeros_like(number), np.zeros_like(number), np.zeros_like(number))
