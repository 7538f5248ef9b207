"""Sound: a waveform, and the view of it that is a spectrogram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.augment import audio
from coview.data.augment.moments import mean_and_std
from coview.data.augment.settings import AugmentSettings, with_changes
from coview.data.views.kinds import register_view
from coview.data.views.made import Made
from coview.data.views.spec import Statistics, ViewSpec
from coview.media.cuts import AudioCut, Window
from coview.media.logmel import log_mel
from coview.media.waveform import to_float, to_int16
from coview.randomness import integers

if TYPE_CHECKING:
    from coview.data.timeline import Timelines

_CUT = 7002  # stream of a key that places a view in a world's clip
# Published data statistics, the start until a collection's own are set: xID's of log10 mel magnitudes, AVID's of dB.
_STATISTICS = {"mel": (-2.19, 0.50), "spectrogram": (-28.5, 19.7)}


class SoundView(ViewSpec):
    """A short piece of sound, mono. Raw: float32 waveform (samples,), full scale 1.

    What it becomes for a method is said by the kinds below it, whose fields are `seconds`, `sample_rate` and `track`.
    """

    sample_rate: int
    stored_dtype: ClassVar[type[np.generic]] = np.int16
    medium: ClassVar[Literal["sound"]] = "sound"

    @property
    def samples(self) -> int:
        """Length of the waveform in samples."""
        return round(self.seconds * self.sample_rate)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return (self.samples,)

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        track = {"track": self.track} if self.track else {}
        return {"samples": self.samples, "sample_rate": self.sample_rate} | track

    def has(self, recordings: Timelines) -> NDArray[np.bool_]:
        """See `ViewSpec.has`: a silent track says nothing."""
        return recordings.has_track(self.track) if self.track else recordings.has_audio & ~recordings.silent

    def cut(self, start: float, window: Window) -> AudioCut:
        """See `ViewSpec.cut`."""
        return AudioCut(start=start, seconds=self.seconds, sample_rate=self.sample_rate)

    def misfit(self, made: Made) -> str | None:
        """See `ViewSpec.misfit`."""
        if self.track:
            return f"a world has no file {self.track!r} beside its clips"
        if not made.samples:
            return "its clips have no sound"
        if self.samples / self.sample_rate > made.samples / made.sample_rate or self.sample_rate != made.sample_rate:
            return (
                f"a sound view of {self.seconds} s at {self.sample_rate} Hz does not fit into "
                f"{made.samples / made.sample_rate} s at {made.sample_rate} Hz"
            )
        return None

    def from_clips(self, clips: Mapping[str, Tensor], made: Made, where: Tensor | None) -> tuple[Tensor, Tensor]:
        """See `ViewSpec.from_clips`."""
        waveform = clips["audio"]
        first = torch.zeros(len(waveform), dtype=torch.int64, device=waveform.device)
        if where is not None:
            first = integers(where, _CUT, made.samples - self.samples + 1)
        pick = first[:, None] + torch.arange(self.samples, device=waveform.device)
        return waveform.gather(1, pick), first.double() / made.sample_rate

    def sound(self, raw: Tensor) -> tuple[Tensor, int]:
        """See `ViewSpec.sound`."""
        return raw, self.sample_rate

    def pack(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.pack`: int16; values beyond full scale are clipped to it."""
        return to_int16(raw)

    def unpack(self, stored: Tensor) -> Tensor:
        """See `ViewSpec.unpack`."""
        return to_float(stored)

    def unlike(self, prepared: Mapping[str, Any]) -> list[str]:
        """See `ViewSpec.unlike`."""
        problems = super().unlike(prepared)
        if self.sample_rate != prepared["sample_rate"]:
            problems.append(f"sound is stored at {prepared['sample_rate']} Hz, {self.sample_rate} is wanted")
        return problems


@register_view
@dataclass(frozen=True, kw_only=True)
class AudioView(SoundView):
    """A short piece of sound, mono.

    Raw: float32 waveform (samples,), full scale 1. Model: float32 (1, mels, time) for layout "mel",
    (1, time, frequencies) for layout "spectrogram", and the waveform as it is, (samples,), for layout "waveform", which
    is for encoders that make their own spectrogram: it is neither normalised nor augmented.
    """

    stream: Literal["audio"] = "audio"  # a piece of sound
    seconds: float = 2.0  # length of the piece
    sample_rate: int = 16000  # Hz
    # xID's log10 mel magnitude; AVID's dB power; or the samples as they are, of which an encoder makes its own
    layout: Literal["mel", "spectrogram", "waveform"] = "mel"
    n_fft: int = 512  # samples of a Fourier transform
    hop: int = 256  # samples from one frame of the spectrogram to the next
    window: int = 512  # samples that a frame looks at
    mels: int = 128  # bands of layout "mel"
    # Per-band z-score from data statistics, or each clip by its own: mean of every band, or one mean and deviation.
    normalise: Literal["statistics", "clip"] = "clip"
    track: str | None = None  # a further file of the recording with sound; None: the recording's own
    augment: dict[str, float] = field(default_factory=dict, hash=False)  # the run's, changed: {"tilt": 0}

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.sample_rate < 1000 or self.hop < 1 or self.window > self.n_fft:
            raise ValueError("an audio view needs seconds > 0, sample_rate >= 1000, hop >= 1 and window <= n_fft")
        with_changes(AugmentSettings(), self.augment)

    @property
    def bands(self) -> int:
        """How many bands or frequencies a model view has."""
        return self.mels if self.layout == "mel" else self.n_fft // 2 + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        if self.layout == "waveform":
            return self.raw_shape
        time = self.samples // self.hop
        return (1, self.bands, time) if self.layout == "mel" else (1, time, self.bands)

    def prepare(
        self,
        raw: Tensor,
        key: Tensor | None,
        mirrorable: Tensor,
        augment: AugmentSettings,
        statistics: Statistics | None,
    ) -> Tensor:
        """See `ViewSpec.prepare`."""
        if self.layout == "waveform":
            return raw
        image = audio.spectrogram(audio.levelled(raw, key, augment), self)
        if key is not None:
            image = audio.vary(image, self, key, augment)
        image = self._normalised(image, statistics)
        return image if key is None else audio.disturb(image, key, augment)

    def _normalised(self, image: Tensor, statistics: Statistics | None) -> Tensor:
        if statistics is None:
            mean, std = (each[:, None, None, None] for each in mean_and_std(image))
            return (image - mean) / (std + 1e-6)
        mean, std = statistics
        if self.layout == "mel":
            mean, std = mean[:, None], std[:, None]
        return (image - mean) / (std + 1e-6)

    @property
    def statistics(self) -> Statistics | None:
        """See `ViewSpec.statistics`: published ones, until the data's own are known."""
        if self.normalise != "statistics" or self.layout == "waveform":
            return None
        mean, std = _STATISTICS[self.layout]
        return torch.full((self.bands,), mean), torch.full((self.bands,), std)

    def values(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.values`: a row for every frame of the spectrogram, of sound at a peak of 0.95."""
        image = audio.spectrogram(audio.levelled(raw, None, AugmentSettings()), self)[:, 0]
        return (image.transpose(1, 2) if self.layout == "mel" else image).flatten(0, 1)

    def changed(self, augment: AugmentSettings) -> AugmentSettings:
        """See `ViewSpec.changed`."""
        return with_changes(augment, self.augment)

    def picture(self, raw: Tensor) -> Tensor:
        """See `ViewSpec.picture`: mel bands over time, low ones at the bottom."""
        image = log_mel(
            raw[None].float(),
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            window=self.window,
            hop=self.hop,
            mels=self.mels,
        )[0]
        low, high = image.min(), image.max()
        return ((image - low) / (high - low).clamp(min=1e-9)).flip(1).expand(3, -1, -1)

    def strip(self, value: Tensor) -> Tensor:
        """See `ViewSpec.strip`: low bands at the bottom, of a waveform too."""
        if self.layout == "waveform":
            return self.picture(value)
        return (value if self.layout == "mel" else value.transpose(1, 2)).flip(1).expand(3, -1, -1)

    def __str__(self) -> str:
        if self.layout == "waveform":
            return f"{self.seconds:g} s of sound at {self.sample_rate} Hz, the waveform"
        bands = f"{self.mels} bands" if self.layout == "mel" else f"{self.n_fft // 2 + 1} frequencies"
        return f"{self.seconds:g} s of sound at {self.sample_rate} Hz, {self.layout}, {bands}"
