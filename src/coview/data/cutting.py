"""One sample of media files on its way: what is asked of which file, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from coview.data.timeline import Timeline
from coview.data.views import ViewSpec
from coview.media.cuts import AudioCut, VideoCut, Window
from coview.media.decode import Cuts, Read

Found = dict[str, tuple[Tensor, float, int]]  # view -> what was cut, where it starts, valid steps of a sequence


@dataclass
class Sample:
    """What is to be cut for one sample.

    Attributes:
        views, starts: those that are cut, and the second at which each starts.
        window: of a wide or high picture, which square of it, or the crop of it, by view.
        asked: view -> the track it is decoded from (None: the recording's own file), and the cut.
        found: what is known already.
    """

    recording: Timeline
    views: Mapping[str, ViewSpec]
    starts: Mapping[str, float]
    window: Mapping[str, Window]
    asked: dict[str, tuple[str | None, VideoCut | AudioCut]] = field(default_factory=dict)
    found: Found = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recording: Timeline,
        views: Mapping[str, ViewSpec],
        starts: Mapping[str, float],
        window: Mapping[str, Window],
    ) -> Sample:
        """Ask for those of `views` that start somewhere; aligned ones show the same square or crop."""
        here = {name: views[name] for name in starts if name in views}
        seen = {name: window.get(view.with_ or name, window[name]) for name, view in here.items()}
        sample = cls(recording, here, starts, seen)
        for name, view in here.items():
            cut = view.cut(starts[name], sample.window[name])
            if cut is not None:
                sample.asked[name] = view.track, cut
        return sample

    @property
    def tracks(self) -> list[str | None]:
        """The files that are decoded for it, each once."""
        return list(dict.fromkeys(track for track, _ in self.asked.values()))

    @property
    def cuts(self) -> Cuts:
        """What is asked of the recording's own file."""
        return self.cuts_from(None)

    def cuts_from(self, track: str | None) -> Cuts:
        """Return what is asked of a file."""
        cuts = [cut for place, cut in self.asked.values() if place == track]
        return [(cut, None) if isinstance(cut, VideoCut) else (None, cut) for cut in cuts]

    def take(self, track: str | None, read: Read) -> None:
        """Note what a file gave; sound that is zero throughout is none."""
        names = [name for name, (place, _) in self.asked.items() if place == track]
        for name, (frames, sound) in zip(names, read, strict=True):
            if frames is not None:
                self.found[name] = frames, self.starts[name], 0
            elif sound is not None and bool(sound.waveform.any()):
                self.found[name] = sound.waveform, self.starts[name], 0

    def load(self, where: Callable[[str], Path]) -> None:
        """Read what is not decoded; `where` says where a track lies.

        Raises:
            MediaError: a file cannot be read.
        """
        for name, view in self.views.items():
            if name in self.asked:
                continue
            loaded = view.load(
                self.recording, where(view.track) if view.track else None, self.starts[name], self.window[name]
            )
            if loaded is not None:
                self.found[name] = (loaded[0], self.starts[name], loaded[1])
