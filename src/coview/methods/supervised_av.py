"""Supervised audio-visual baseline: both encoders learn the labels, through joined features or each for itself.

AV-SSRL (K. Vilouras), the supervised baseline, is late fusion:

    loss = cross-entropy(W [video features; audio features] + b, label), mean over the labelled samples

There the easier view can do all the work and leave the other's encoder behind. The ceiling that every view of a method
without labels is measured against is "per-view", a classifier for each view alone (no published counterpart):

    loss = sum over views of cross-entropy(W_view features_view + b_view, label), mean over the labelled samples

No dropout. The released code stops early on the TEST set; choosing when to stop belongs to the training loop, on
validation data. Published recipe: Adam at 5e-4 with decay 1e-5 on everything, times 0.9 every 10 of at most 50 epochs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coview.data.views import Batch
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.towers import PairSettings, dim_of, encoders_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.precision import in_float32
from coview.parallel import mean_over_world


@dataclass(frozen=True, kw_only=True)
class SupervisedAVSettings(PairSettings):
    """Settings of the supervised baseline."""

    fusion: Literal["late", "per-view"] = "late"  # one classifier on the joined features, or one for each view


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
    published = Recipe(
        optimiser=OptimiserSettings(lr=5e-4, weight_decay=1e-5, decay="everything"),
        schedule=ScheduleSettings(milestones=(0.2, 0.4, 0.6, 0.8)),
        epochs=50,
        clips_per_recording=5,
    )
    labelled = True
    coupling: Coupling = "none"

    def __init__(self, settings: SupervisedAVSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        if facts.classes < 2:
            raise UsageError(f"supervised-av needs a collection with at least 2 labels, found {facts.classes}")
        self.encoders = encoders_of(settings, self.views)
        widths = {name: dim_of(encoder) for name, encoder in self.encoders.items()}
        if settings.fusion == "late":
            self.classifier = nn.Linear(sum(widths.values()), facts.classes)
        else:
            self.classifiers = nn.ModuleDict({name: nn.Linear(width, facts.classes) for name, width in widths.items()})

    def learn(self, batch: Batch) -> Step:
        """Return the cross-entropy of the labelled samples that have both views.

        Parts: accuracy, or with a classifier for each view "accuracy/<view>".
        """
        features = {name: self.encoders[name](batch.views[name]) for name in self.views}
        logits = self.logits(features)
        losses = [in_float32(cross_entropy)(value, batch.label, reduction="none") for value in logits.values()]
        parts = {f"accuracy{'/' if name else ''}{name}": _accuracy(v, batch.label) for name, v in logits.items()}
        return Step(mean_over_world(torch.stack(losses).sum(0)), parts, detached(features))

    def logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return class scores (B, classes): of the joined features under "", or of each view under its name."""
        if self.settings.fusion == "late":
            joined: Tensor = self.classifier(torch.cat([features[name] for name in self.views], 1))
            return {"": joined}
        return {name: self.classifiers[name](features[name]) for name in self.views}


def _accuracy(logits: Tensor, label: Tensor) -> Tensor:
    return mean_over_world((logits.detach().argmax(1) == label).float())
