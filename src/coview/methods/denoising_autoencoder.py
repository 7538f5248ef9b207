"""Denoising autoencoder: a corrupted view is encoded, and the clean one has to come out.

Vincent, Larochelle, Bengio & Manzagol, "Extracting and composing robust features with denoising autoencoders", ICML
2008; with Lajoie, "Stacked denoising autoencoders", JMLR 11 (2010). With x the view and x' its corruption,

    loss = mean_i sum_j e_j |x_ij - r(f(x'_i))_j|^2,     e_j = `emphasis`[0] where j was corrupted, else `emphasis`[1]

or the cross-entropy of numbers in [0, 1] (`loss`). Masking sets numbers to 0 without rescaling the others, so views are
normalised to zero mean. What is embedded is clean. It is a baseline: on photographs its features gain about a point
over a plain autoencoder's (Zhang, Isola & Efros 2017).

The papers' networks are shallow and trained layer by layer [M]; here encoder and decoder are learnt at once. Recipe
[M]: AdamW at 1e-3, cosine, batch 256.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from coview.data.views import AudioView, Batch, FeaturesView, ImageView, VideoView, ViewSpec
from coview.encoders import build_audio, build_image, build_video
from coview.encoders.decoders import PlaneDecoder
from coview.encoders.features import FeatureDecoder, FeatureEncoder
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import TINY_AUDIO, TINY_VIDEO
from coview.methods.parts.crops import TINY_IMAGE
from coview.methods.reading import Paints
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.denoising import (
    add_noise,
    cross_entropy,
    emphasis,
    mask_out,
    salt_and_pepper,
    squared,
)
from coview.parallel import mean_over_world

_STREAM = 7300  # of a sample's key: what is corrupted


@dataclass(frozen=True, kw_only=True)
class DenoisingSettings:
    """Which view, how it is corrupted, and the networks; what is not named is not used."""

    view: Literal["image", "video", "audio", "features"] = "image"  # which view is corrupted and restored
    image: ImageView = field(default_factory=ImageView)
    video: VideoView = field(default_factory=VideoView)
    audio: AudioView = field(default_factory=AudioView)
    features: FeaturesView = field(default_factory=lambda: FeaturesView(dim=512, normalise="statistics"))
    image_encoder: str = "resnet-18"  # network of pictures
    video_encoder: str = "r2plus1d-18"  # network of clips
    audio_encoder: str = "conv2d"  # network of sounds
    hidden: tuple[int, ...] = (1000,)  # between stored features and the code
    code: int = 1000  # length of the code of stored features
    corruption: Literal["mask", "gaussian", "salt-and-pepper"] = "mask"  # how numbers are hit
    strength: float = 0.25  # share that is hit; gaussian: the standard deviation
    # What is masked at once: each number, all channels of a place, or a whole column of a picture or moment of a sound.
    unit: Literal["number", "place", "column"] = "place"
    emphasis: tuple[float, float] = (1.0, 1.0)  # weight of the error where it was hit, and elsewhere
    loss: Literal["squared", "cross-entropy"] = "squared"  # between what was there and what is restored

    def __post_init__(self) -> None:
        if self.strength < 0 or (self.corruption != "gaussian" and self.strength > 1):
            raise ValueError("strength is a share from 0 to 1, or for gaussian a standard deviation from 0 on")
        if min(self.emphasis) < 0 or max(self.emphasis) == 0:
            raise ValueError("emphasis holds two weights, not below 0 and not both 0")
        if self.loss == "cross-entropy" and self.view != "features":
            raise ValueError("cross-entropy is for features in [0, 1]; pictures and sounds are normalised: use squared")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers."""
        return cls(
            image=TINY_IMAGE,
            video=TINY_VIDEO,
            audio=TINY_AUDIO,
            features=FeaturesView(dim=12),
            image_encoder="image-tiny",
            video_encoder="video-tiny",
            audio_encoder="audio-tiny",
            hidden=(32,),
            code=16,
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the view."""
        known: dict[str, ViewSpec] = {
            "image": self.image,
            "video": self.video,
            "audio": self.audio,
            "features": self.features,
        }
        return {self.view: known[self.view]}


class DenoisingAutoencoder(Method):
    """An encoder and a decoder of one view."""

    about = About(
        slug="denoising-autoencoder",
        title="Denoising autoencoder of one view",
        paper="Vincent, Larochelle, Bengio & Manzagol, ICML 2008; with Lajoie, JMLR 11 (2010)",
        family="reconstruction",
        state="verified: both losses and the linear case equal independent values",
    )
    Settings = DenoisingSettings
    settings: DenoisingSettings
    coupling: Coupling = "none"
    paints: ClassVar[Paints | None] = "noise"
    published = Recipe(
        optimiser=OptimiserSettings(kind="adamw", lr=1e-3, weight_decay=0.01),
        schedule=ScheduleSettings(kind="cosine"),
        batch_size=256,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adamw", lr=1e-3, weight_decay=0.01), schedule=ScheduleSettings(kind="cosine")
    )

    def __init__(self, settings: DenoisingSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        ((self.name, spec),) = self.views.items()
        self.encoders = nn.ModuleDict({self.name: self._encoder(spec)})
        dim = int(self.encoders[self.name].dim)  # type: ignore[arg-type]
        stored = settings.view == "features"
        decoder = FeatureDecoder(dim, settings.hidden, spec.shape) if stored else PlaneDecoder(dim, spec.shape)
        self.makers[self.name] = decoder

    def _encoder(self, spec: ViewSpec) -> nn.Module:
        settings = self.settings
        if settings.view == "features":
            return FeatureEncoder(spec.shape, settings.hidden, settings.code)
        if settings.view == "image":
            return build_image(settings.image_encoder, spec.shape[0])
        return build_audio(settings.audio_encoder) if settings.view == "audio" else build_video(settings.video_encoder)

    def forward(self, batch: Batch) -> Step:
        """Return the loss; parts: per_number, the mean squared error of a number, of which chance is about 1."""
        usable = self.usable(batch)
        if usable is None:
            return self.idle()
        clean = usable.views[self.name]
        corrupted, hit = self.corrupt(clean, usable.key)
        code = self.encoders[self.name](corrupted)
        made = self.makers[self.name](code)
        weight = None if self.settings.emphasis == (1.0, 1.0) else emphasis(hit, *self.settings.emphasis)
        measure = squared if self.settings.loss == "squared" else cross_entropy
        shown = made if self.settings.loss == "squared" else made.sigmoid()
        parts = {"per_number": mean_over_world(squared(clean, shown.detach())) / clean.shape[1:].numel()}
        return Step(mean_over_world(measure(clean, made, weight)), parts, {self.name: code.detach()})

    def corrupt(self, x: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Return corrupted views (B, ...), each from its key (B,), and where they were hit, bool."""
        settings = self.settings
        if settings.corruption == "gaussian":
            return add_noise(x, key, _STREAM, settings.strength), torch.ones_like(x, dtype=torch.bool)
        if settings.corruption == "salt-and-pepper":
            return salt_and_pepper(x, key, _STREAM, settings.strength)
        unit = list(x.shape[1:])
        if settings.unit != "number" and x.ndim > 2:
            unit[0] = 1
        if settings.unit == "column" and x.ndim > 2:
            unit[-2] = 1
        return mask_out(x, key, _STREAM, settings.strength, tuple(unit))

    def canvas(self) -> str:
        """See `Method.canvas`."""
        settings = self.settings
        if settings.view != "image" or settings.image.space != "rgb":
            seen = settings.image.space if settings.view == "image" else settings.view
            raise UsageError(f"noise is removed from photographs by a model of image in rgb, and this is one of {seen}")
        return "image"

    @torch.no_grad()
    def sketch(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Return what the networks make of views (B, ...), pictures or not."""
        made: Tensor = self.makers[self.name](self.encoders[self.name](x))
        return made if self.settings.loss == "squared" else made.sigmoid()
