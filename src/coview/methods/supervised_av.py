"""Supervised audio-visual baseline: both encoders learn the labels, through joined features or each for itself.

AV-SSRL (K. Vilouras), the supervised baseline, is late fusion:

    loss = cross-entropy(W [video features; audio features] + b, label), mean over the labelled samples

There the easier view can do all the work and leave the other's encoder behind. The ceiling that every view of a method
without labels is measured against is "per-view", a classifier for each view alone (no published counterpart):

    loss = sum over views of cross-entropy(W_view features_view + b_view, label), mean over the labelled samples

No dropout. The released code stops early on the TEST set; choosing when to stop belongs to the training loop, on
validation data. Published recipe: Adam at 5e-4 with decay 1e-5, times 0.9 every 10 of at most 50 epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coview.data.views import AudioView, Batch, VideoView
from coview.encoders import build_audio, build_video
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import TINY_AUDIO, TINY_VIDEO, complete, enough
from coview.methods.parts.towers import PairSettings
from coview.objectives.precision import in_float32
from coview.parallel import mean_over_world


@dataclass(frozen=True, kw_only=True)
class SupervisedAVSettings(PairSettings):
    """Settings of the supervised baseline."""

    video: VideoView = field(default_factory=VideoView)
    audio: AudioView = field(default_factory=AudioView)
    video_encoder: str = "r2plus1d-18"
    audio_encoder: str = "conv2d"
    fusion: Literal["late", "per-view"] = "late"  # one classifier on the joined features, or one for each view

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(video=TINY_VIDEO, audio=TINY_AUDIO, video_encoder="video-tiny", audio_encoder="audio-tiny")


class SupervisedAV(Method):
    """Two encoders and one linear classifier, or one each; samples without a label or one of the views are left out."""

    about = About(
        slug="supervised-av",
        title="Supervised audio-visual baseline (late fusion, or per view)",
        paper="Vilouras, Audio-Visual Self-Supervised Representation Learning in-the-wild",
        family="protocol",
        state="working: as described in the code's card, which published no values",
    )
    Settings = SupervisedAVSettings
    settings: SupervisedAVSettings
    coupling: Coupling = "none"

    def __init__(self, settings: SupervisedAVSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        if facts.classes < 2:
            raise UsageError(f"supervised-av needs a collection with at least 2 labels, found {facts.classes}")
        encoders = {"video": build_video(settings.video_encoder), "audio": build_audio(settings.audio_encoder)}
        self.encoders = nn.ModuleDict(encoders)
        self.projectors = nn.ModuleDict()
        widths = {name: encoder.dim for name, encoder in encoders.items()}
        if settings.fusion == "late":
            self.classifier = nn.Linear(sum(widths.values()), facts.classes)
        else:
            self.classifiers = nn.ModuleDict({name: nn.Linear(width, facts.classes) for name, width in widths.items()})

    def forward(self, batch: Batch) -> Step:
        """Return the cross-entropy of the labelled samples that have both views.

        Parts: accuracy, or with a classifier for each view "accuracy/<view>".
        """
        batch = complete(batch, self.views, labelled=True)
        if not enough(batch, 1):
            return self.idle()
        features = {name: self.encoders[name](batch.views[name]) for name in self.views}
        logits = self.logits(features)
        losses = [in_float32(cross_entropy)(value, batch.label, reduction="none") for value in logits.values()]
        parts = {f"accuracy{'/' if name else ''}{name}": _accuracy(v, batch.label) for name, v in logits.items()}
        embeddings = {name: value.detach() for name, value in features.items()}
        return Step(mean_over_world(torch.stack(losses).sum(0)), parts, embeddings)

    def logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return class scores (B, classes): of the joined features under "", or of each view under its name."""
        if self.settings.fusion == "late":
            joined: Tensor = self.classifier(torch.cat([features[name] for name in self.views], 1))
            return {"": joined}
        return {name: self.classifiers[name](features[name]) for name in self.views}


def _accuracy(logits: Tensor, label: Tensor) -> Tensor:
    return mean_over_world((logits.detach().argmax(1) == label).float())
