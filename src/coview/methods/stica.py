"""STiCA: space-time crops of feature maps, pooled by attention, beside contrast of picture and sound.

M. Patrick, Y. M. Asano, P.-Y. Huang, I. Misra, F. Metze, J. Henriques, A. Vedaldi, "Space-Time Crop & Attend", ICCV
2021 (arXiv 2103.10211). Two augmented clips v1, v2 of a recording share its sound a. With E(f <- g) the InfoNCE of
anchors f against constant keys g and G(f, g) = (E(f <- g) + E(g <- f)) / 2,

    loss = alpha (G(v1, a) + G(v2, a)) / 2 + (1 - alpha) mean over the crop terms

where the clips' maps are cropped in space and in time: large crops of the clips are told from each other by G, small
crops of the second clip tell the large ones of the first by E (`coview.objectives.one_sided`). The temperature is 0.1
between views and 0.5 between crops. All samples of the global batch are cropped at one place, drawn for each crop and
clip from the batch's first key, so that the place tells no sample from another.

The released code draws the place one position short: a crop of 6 in 7 is always the first one (`as_released`). Without
any crop term its loss is 0 / 0; here that part is 0.

Published recipe (Kinetics-400): SGD, momentum 0.9, decay 1e-5, rate 0.64 for 128 recordings, 10 epochs of warm-up from
0.01, then constant, 150 epochs. The mel bands of the sound are ours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn

from coview.data.views import AudioView, Batch, VideoView, ViewSpec
from coview.encoders import Head
from coview.encoders.attention_pool import AttentionPooled
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached, unit
from coview.methods.parts.towers import LATER, TINY, PairSettings, dim_of, encoder_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.feature_crops import crop_space, crop_time, draw_start
from coview.objectives.one_sided import crop_contrast, mean_of_terms, one_sided
from coview.parallel import gather, mean_over_world, rank, row_counts
from coview.randomness import make_key

_PLACE = 0x706C61  # keeps these draws apart from other users of a sample's key


def _clip() -> VideoView:
    return VideoView(frames=30, fps=30.0)


def _sound() -> AudioView:
    return AudioView(seconds=1.0, sample_rate=24000, n_fft=1024, window=600, hop=240, mels=80)


@dataclass(frozen=True, kw_only=True)
class Crops:
    """How many crops of a map, and how long they are, in positions of the map."""

    large: int = 2  # large crops
    small: int = 0  # small crops
    large_size: int = 6  # side of a large one
    small_size: int = 4  # side of a small one

    def __post_init__(self) -> None:
        if min(self.large, self.small) < 0 or not 1 <= self.small_size <= self.large_size:
            raise ValueError("crops need large >= 0, small >= 0 and 1 <= small_size <= large_size")


@dataclass(frozen=True, kw_only=True)
class STiCASettings(PairSettings):
    """Settings of STiCA; the defaults are the released ones: 2 large crops in space, 30 frames at 112 pixels."""

    video: VideoView = field(default_factory=_clip)
    audio: AudioView = field(default_factory=_sound)
    elsewhere: bool = True  # the second clip lies anywhere in the recording; False: it is the first, augmented anew
    video_encoder: str = "r2plus1d-18-wide"  # network of clips
    audio_encoder: str = "resnet-9"  # network of sounds
    space: Crops = field(default_factory=Crops)  # of the 7 x 7 positions
    time: Crops = field(default_factory=lambda: Crops(large=0, large_size=3, small_size=2))  # of the 4 steps
    attention: int = 2  # layers of the pooling over time; 0: the mean
    heads: int = 4  # of the attention
    feed_forward: int = 2048  # width of its inner layers
    hidden: int = 512  # of each projector
    embedding: int = 256  # length of the vectors that are compared
    dropout: float = 0.3  # in the attention
    alpha: float = 0.5  # share of the contrast between views
    temperature: float = 0.1  # between views
    crop_temperature: float = 0.5  # between crops
    as_released: bool = False  # crops never at the last place

    def __post_init__(self) -> None:
        if min(self.temperature, self.crop_temperature) <= 0 or not 0 <= self.alpha <= 1 or not 0 <= self.dropout < 1:
            raise ValueError("stica needs temperatures > 0, alpha between 0 and 1 and dropout in [0, 1)")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(
            **TINY,
            space=Crops(large=2, small=2, large_size=3, small_size=2),  # of 4 x 4
            time=Crops(large=1, small=1, large_size=3, small_size=2),  # of 4
            attention=1,
            feed_forward=256,
            hidden=256,
            embedding=128,
            dropout=0.0,
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views: two clips and the sound of the first."""
        second = self.video if self.elsewhere else replace(self.video, of="video")
        return {"video": self.video, LATER: second, "audio": self.audio}


class STiCA(Method):
    """A video encoder with attention pooling, an audio encoder, two projectors; the clips share their networks."""

    about = About(
        slug="stica",
        title="STiCA: crops of feature maps and attention over time",
        paper="Patrick et al., Space-Time Crop & Attend, ICCV 2021; arXiv 2103.10211",
        family="instance",
        state="verified: losses, gradients, crops and pooling equal values of the official code",
    )
    Settings = STiCASettings
    settings: STiCASettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.64, weight_decay=1e-5, decay="everything"),
        schedule=ScheduleSettings(kind="constant", warm_up=10 / 150, warm_up_from=0.01 / 0.64),
        batch_size=128,
        epochs=150,
    )
    renamed_views = {"video_again": LATER}
    coupling: Coupling = "negatives"
    least_batch = 2

    def __init__(self, settings: STiCASettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        trunk, audio = encoder_of(settings, settings.video), encoder_of(settings, settings.audio)
        self.pooled = AttentionPooled(trunk, settings.attention, settings.heads, settings.feed_forward)
        self.encoders = nn.ModuleDict({"video": self.pooled, "audio": audio})
        self.projectors = nn.ModuleDict({name: _projector(net, settings) for name, net in self.encoders.items()})

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples that have all views; parts: infonce (between views) and crops."""
        size, settings = len(batch), self.settings
        clips = torch.cat([batch.views["video"], batch.views[LATER]])
        maps = self.pooled.feature_maps(clips)[self.pooled.stages[-1]]
        steps = [maps.mean((3, 4)), *self._crops(maps, gather(batch.key)[0])]
        # One pass through pooling and projector: (crops, 2 clips, N, D); the whole clips come first.
        video = unit(self.projectors["video"](self.pooled.attend(torch.cat(steps))))
        video = video.view(len(steps), 2, size, settings.embedding)
        audio = unit(self.projectors["audio"](self.encoders["audio"](batch.views["audio"])))
        keys = gather(torch.cat([video.flatten(0, 1), audio[None]]).transpose(0, 1)).transpose(0, 1)
        own = sum(row_counts(audio)[: rank()]) + torch.arange(size, device=audio.device)
        all_audio, all_video = keys[-1], keys[:-1].view(len(steps), 2, *keys.shape[1:])
        between = [
            (one_sided(clip, all_audio, own, settings.temperature) + one_sided(audio, key, own, settings.temperature))
            / 2
            for clip, key in zip(video[0], all_video[0], strict=True)
        ]
        infonce = mean_over_world(torch.stack(between).mean(0))
        crops = mean_over_world(mean_of_terms(self._contrast(video[1:], all_video[1:], own), audio[:, 0]))
        names = {"video": video[0, 0], LATER: video[0, 1], "audio": audio}
        return Step(
            settings.alpha * infonce + (1 - settings.alpha) * crops,
            {"infonce": infonce.detach(), "crops": crops.detach()},
            detached(names),
        )

    def _crops(self, maps: Tensor, key: Tensor) -> list[Tensor]:
        """Return sequences (2 N, C, T): space large, small, time large, small; each clip cropped at its own place."""
        steps, height, width = maps.shape[2:]
        clips = maps.view(2, -1, *maps.shape[1:]) if len(maps) else [maps, maps]
        key, stream = make_key(key.cpu(), _PLACE), itertools.count()

        def start(extent: int, window: int) -> int:
            if window > extent:
                raise UsageError(
                    f"stica: a crop of {window} positions does not fit {extent}; the map is {maps.shape[2:]}"
                )
            return draw_start(key, next(stream), extent, window, self.settings.as_released)

        cut = []
        for window in _windows(self.settings.space):
            parts = [crop_space(clip, window, start(height, window), start(width, window)) for clip in clips]
            cut.append(torch.cat(parts))
        for window in _windows(self.settings.time):
            cut.append(torch.cat([crop_time(clip, window, start(steps, window)) for clip in clips]))
        return cut

    def _contrast(self, crops: Tensor, keys: Tensor, own: Tensor) -> list[Tensor]:
        """Return the crop terms from crops (n, 2, N, D) in the order of `_crops`, and those of all processes."""
        terms, first = [], 0
        for kind in (self.settings.space, self.settings.time):
            large = slice(first, first + kind.large)
            small = slice(large.stop, large.stop + kind.small)
            first = small.stop
            terms += crop_contrast(
                (crops[large, 0], crops[large, 1]),
                crops[small, 1],
                (keys[large, 0], keys[large, 1]),
                own,
                self.settings.crop_temperature,
            )
        return terms

    def negatives(self, global_batch: int) -> int:
        """Return all other samples of the batch."""
        return global_batch - 1


def _windows(crops: Crops) -> list[int]:
    return [crops.large_size] * crops.large + [crops.small_size] * crops.small


def _projector(encoder: nn.Module, settings: STiCASettings) -> Head:
    return Head(
        settings.embedding,
        nn.Dropout(settings.dropout),
        nn.Linear(dim_of(encoder), settings.hidden, bias=False),
        nn.BatchNorm1d(settings.hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(settings.dropout),
        nn.Linear(settings.hidden, settings.embedding),
    )
