"""Listening to all the sound of a file while it is probed: when it begins and ends, how loud it is, what is damaged."""

from __future__ import annotations

from typing import Any

import av
import numpy as np

from coview.media.container import Media
from coview.media.content import LoudestSecond
from coview.media.sounds import JITTER_SECONDS, Waveform, checked_mono

_BLOCK = 1 << 16  # samples looked at together: calls, not samples, are what looking costs


class Ear:
    """Decodes the sound's packets one after the other.

    Attributes:
        start, end: seconds on the recording's clock; start is None before the first sample.
        rate, channels: of the first frame; `rates` are all that occur.
        gaps: places where the sound stops and goes on later; `damaged`: packets that cannot be decoded.
        early: (second, mono samples) of each frame up to second `until`, until a gap or another rate interrupts them.
    """

    def __init__(self, media: Media, until: float) -> None:
        self.media, self.until = media, until
        self.start: float | None = None
        self.end = 0.0
        self.rate = self.channels = self.samples = self.gaps = self.damaged = self.packets = 0
        self.rates: set[int] = set()
        self.loudest = LoudestSecond()
        self.early: list[tuple[float, Waveform]] = []
        self._block: list[Waveform] = []
        self._waiting = self._rate = 0

    @property
    def peak(self) -> float:
        """Largest absolute mono sample."""
        return self.loudest.peak

    def hear(self, packet: Any) -> None:
        """Decode a packet; one without data ends the sound.

        Raises:
            MediaError: "bad-rate", or "undecodable" where samples are not finite.
        """
        self.packets += 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.damaged += 1
            return
        for frame in frames:
            self._take(frame)

    def finish(self) -> None:
        """Look at what is left."""
        self._look()

    def _take(self, frame: Any) -> None:
        time = self.end if frame.pts is None else float(frame.pts * frame.time_base) - self.media.origin
        mono = checked_mono(self.media, frame, time + self.media.origin)
        if self.start is None:
            self.start, self.rate, self.channels = time, frame.sample_rate, len(frame.layout.channels)
        elif abs(time - self.end) > JITTER_SECONDS:
            self.gaps += 1
        if frame.sample_rate != self._rate:
            self._look()
            self.rates.add(frame.sample_rate)
            self._rate = frame.sample_rate
        self.samples += frame.samples
        self.end = time + frame.samples / frame.sample_rate
        if not len(mono):
            return
        if time < self.until and len(self.rates) == 1 and not self.gaps:
            self.early.append((time, mono))
        self._block.append(mono)
        self._waiting += len(mono)
        if self._waiting >= _BLOCK:
            self._look()

    def _look(self) -> None:
        if self._block:
            self.loudest.hear(np.concatenate(self._block), self._rate)
            self._block, self._waiting = [], 0
