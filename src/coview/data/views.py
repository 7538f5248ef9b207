"""Views: what is cut from a recording, and exactly how; and the batch that carries the cuts.

All views of one sample are cut by SECONDS on one clock. A loader's batch holds raw views (uint8 frames, waveforms);
`coview.data.augment` turns them, on the training device, into the model views that a method sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor

from coview.errors import SettingsError
from coview.settings import from_dict


@dataclass(frozen=True, kw_only=True)
class VideoView:
    """A short clip of frames.

    Raw: uint8 (3, frames, decode_size, decode_size), a square window of the frame whose short side was scaled to
    `decode_size`. Model: float32 (3, frames, size, size), normalised.
    """

    stream: Literal["video"] = "video"
    frames: int = 8
    fps: float = 16.0
    size: int = 112
    margin: float = 1.15  # decoded side / model side: room for crops
    after: tuple[float, float] | None = None  # seconds after the sample's first picture clip, drawn uniformly
    # Per channel: by ImageNet's statistics or by the data's own; or each clip by its own mean and deviation.
    normalise: Literal["imagenet", "statistics", "clip"] = "imagenet"
    area: tuple[float, float] | None = None  # share of the frame that a random crop takes; None: the augmentation's
    of: str | None = None  # another crop of this view, which is cut and decoded once for both

    def __post_init__(self) -> None:
        if self.frames < 1 or self.fps <= 0 or self.size < 8 or self.margin < 1:
            raise ValueError("a video view needs frames >= 1, fps > 0, size >= 8 and margin >= 1")
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError("area is a share of the frame: 0 < low <= high <= 1")

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.fps

    @property
    def decode_size(self) -> int:
        """Side in pixels of the square that the decoder delivers; even."""
        return 2 * round(self.size * self.margin / 2)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return 3, self.frames, self.decode_size, self.decode_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return 3, self.frames, self.size, self.size

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"frames": self.frames, "fps": self.fps, "decode_size": self.decode_size, "after": self.after}

    def __str__(self) -> str:
        return f"{self.frames} frames at {self.fps:g} fps, {self.size} x {self.size} pixels"


@dataclass(frozen=True, kw_only=True)
class ImageView(VideoView):
    """One picture: a frame of a recording, or a still.

    Raw: uint8 (3, 1, decode_size, decode_size). Model: float32 (3, size, size), normalised.
    """

    stream: Literal["image"] = "image"  # type: ignore[assignment]
    frames: int = 1
    size: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames != 1:
            raise ValueError("an image view has one frame; a video view has more")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return 3, self.size, self.size

    def __str__(self) -> str:
        return f"one picture, {self.size} x {self.size} pixels"


@dataclass(frozen=True, kw_only=True)
class AudioView:
    """A short piece of sound, mono.

    Raw: float32 waveform (samples,), full scale 1. Model: float32 (1, mels, time) for layout "mel" or
    (1, time, frequencies) for layout "spectrogram".
    """

    stream: Literal["audio"] = "audio"
    seconds: float = 2.0
    sample_rate: int = 16000
    layout: Literal["mel", "spectrogram"] = "mel"  # xID's log10 mel magnitude; AVID's dB power
    n_fft: int = 512
    hop: int = 256
    window: int = 512
    mels: int = 128
    # Per-band z-score from data statistics, or each clip by its own: mean of every band, or one mean and deviation.
    normalise: Literal["statistics", "clip"] = "clip"

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.sample_rate < 1000 or self.hop < 1 or self.window > self.n_fft:
            raise ValueError("an audio view needs seconds > 0, sample_rate >= 1000, hop >= 1 and window <= n_fft")

    @property
    def samples(self) -> int:
        """Length of the waveform in samples."""
        return round(self.seconds * self.sample_rate)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return (self.samples,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        time = self.samples // self.hop
        return (1, self.mels, time) if self.layout == "mel" else (1, time, self.n_fft // 2 + 1)

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"samples": self.samples, "sample_rate": self.sample_rate}

    def __str__(self) -> str:
        bands = f"{self.mels} bands" if self.layout == "mel" else f"{self.n_fft // 2 + 1} frequencies"
        return f"{self.seconds:g} s of sound at {self.sample_rate} Hz, {self.layout}, {bands}"


@dataclass(frozen=True, kw_only=True)
class TextView:
    """A recording's caption as numbers; the whole caption belongs to every sample of its recording.

    Raw and model: int64 (length,), 0 after the end; see `coview.data.text`.
    """

    stream: Literal["text"] = "text"
    length: int = 100  # characters or word pieces kept
    tokens: Literal["characters", "minilm"] = "characters"  # minilm: the word pieces of MiniLM (extra "text")

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError("a text view needs length >= 1")

    @property
    def seconds(self) -> float:
        """0: a caption has no length in time."""
        return 0.0

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return (self.length,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return (self.length,)

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"length": self.length, "tokens": self.tokens}

    def __str__(self) -> str:
        return f"the caption, at most {self.length} {'characters' if self.tokens == 'characters' else 'word pieces'}"


@dataclass(frozen=True, kw_only=True)
class FeaturesView:
    """A vector that was computed before, such as the features of a frozen encoder.

    Raw and model: float32 (dim,), or (steps, dim) for a sequence.
    """

    stream: Literal["features"] = "features"
    dim: int
    steps: int = 0  # 0: one vector
    normalise: Literal["none", "statistics"] = "none"  # as they are, or each number by its mean and deviation

    def __post_init__(self) -> None:
        if self.dim < 1 or self.steps < 0:
            raise ValueError("a features view needs dim >= 1 and steps >= 0")

    @property
    def seconds(self) -> float:
        """0: nothing is cut."""
        return 0.0

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one raw view."""
        return (self.steps, self.dim) if self.steps else (self.dim,)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one model view."""
        return self.raw_shape

    @property
    def stored(self) -> dict[str, Any]:
        """What is fixed once the raw view is stored."""
        return {"dim": self.dim, "steps": self.steps}

    def __str__(self) -> str:
        return f"{self.dim} numbers computed before" + (f", {self.steps} in time" if self.steps else "")


ViewSpec = VideoView | AudioView | TextView | FeaturesView
_KINDS: dict[str, type[Any]] = {
    "video": VideoView,
    "image": ImageView,
    "audio": AudioView,
    "text": TextView,
    "features": FeaturesView,
}


def read_view(fields: Mapping[str, Any]) -> ViewSpec:
    """Return the view that `coview.settings.to_dict` made into plain data; raises SettingsError where it is none."""
    stream = str(fields.get("stream"))
    if stream not in _KINDS:
        raise SettingsError([f"stream: expected one of {', '.join(_KINDS)}, found {stream!r}"])
    return cast(ViewSpec, from_dict(_KINDS[stream], fields))


def cut_from(name: str, view: ViewSpec) -> str:
    """Return the name of the raw view that a view is made of: its own, or that of the view it is a crop of."""
    return view.of if isinstance(view, VideoView) and view.of else name


def raw_views(views: Mapping[str, ViewSpec]) -> dict[str, ViewSpec]:
    """Return the views that a source has to cut: crops of another view are made from its raw frames."""
    return {name: view for name, view in views.items() if cut_from(name, view) == name}


@dataclass(kw_only=True)
class Batch:
    """Samples of several views; B samples.

    Attributes:
        views: name -> tensor with first dimension B; raw or model views. Rows that are absent are zero-filled and
            must not be looked at: `present` says so.
        row: int64 (B,), position of the recording in the collection (the slot of a memory bank).
        key: int64 (B,), hash of (seed, epoch, position); every random choice about the sample is drawn from it.
        start: name -> float64 (B,), where the view begins, in seconds of the recording's clock.
        present: name -> bool (B,).
        label: int64 (B,), -1 where the recording has no label.
        mirrorable: bool (B,), False where left and right of the picture must stay: its mirror image means something
            else (a letter, a hand).
        epoch, epochs: whole epochs passed, and planned; schedules inside a method read these.
        replaced: (row, reason) of every sample that could not be read and was replaced by another.
        whole: views that all samples have, as far as the host knows: noted where a batch leaves it (`to`).
    """

    views: dict[str, Tensor]
    row: Tensor
    key: Tensor
    start: dict[str, Tensor] = field(default_factory=dict)
    present: dict[str, Tensor] = field(default_factory=dict)
    label: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    mirrorable: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))
    epoch: int = 0
    epochs: int = 1
    replaced: list[tuple[int, str]] = field(default_factory=list)
    whole: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in self.views:
            self.present.setdefault(name, torch.ones(len(self), dtype=torch.bool, device=self.row.device))
        if self.label.numel() == 0:
            self.label = torch.full_like(self.row, -1)
        if self.mirrorable.numel() == 0:
            self.mirrorable = torch.ones_like(self.row, dtype=torch.bool)

    def __len__(self) -> int:
        return self.row.shape[0]

    def has_all(self, name: str) -> bool:
        """Return whether every sample has a view; does not wait for a device where the host knows."""
        return name in self.whole or bool(self.present[name].all())

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`; copies do not block where memory is pinned."""

        def move(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        return dataclasses.replace(
            self,
            views=move(self.views),
            row=self.row.to(device, non_blocking=True),
            key=self.key.to(device, non_blocking=True),
            start=move(self.start),
            present=move(self.present),
            label=self.label.to(device, non_blocking=True),
            mirrorable=self.mirrorable.to(device, non_blocking=True),
            whole=self._known() if torch.device(device).type != "cpu" else frozenset(),
        )

    def _known(self) -> frozenset[str]:
        if self.row.device.type != "cpu":
            return self.whole
        return frozenset(name for name, present in self.present.items() if bool(present.all()))

    def select(self, index: Tensor | slice) -> Batch:
        """Return the samples named by `index` (a slice, int64 positions or a bool mask), with all their fields."""

        def pick(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor[index] for name, tensor in tensors.items()}

        return dataclasses.replace(
            self,
            views=pick(self.views),
            row=self.row[index],
            key=self.key[index],
            start=pick(self.start),
            present=pick(self.present),
            label=self.label[index],
            mirrorable=self.mirrorable[index],
            replaced=list(self.replaced),
        )
