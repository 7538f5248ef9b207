"""Classifier of one view: the encoder of another method, dropout and a linear layer, learnt from labels.

The network of the transfer protocols (AVID, arXiv 2004.12943, and AV-SSRL): fine-tuning, where everything learns, and
the linear probe by gradient, where the encoder is frozen.

    loss = cross-entropy(W dropout(f(view)) + b, label), mean over the labelled samples

A frozen encoder stays in evaluation mode, batch normalisation included; the released codes put the whole network in
training mode, so that the statistics of their "frozen" encoders drift.

Published recipe (AVID, UCF-101): Adam at 1e-4, times 0.3 after epochs 6, 10 and 14 of 16, ten clips of each recording
an epoch; `coview evaluate fine-tune` puts epochs of the linear layer alone before them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from coview.data.views import Batch, ViewSpec
from coview.encoders import LinearHead
from coview.errors import SettingsError, UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.towers import dim_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.precision import in_float32
from coview.parallel import mean_over_world
from coview.randomness import uniform
from coview.settings import from_dict, to_dict

_DROPOUT = 9101  # stream of a sample's key


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """Settings of the classifier."""

    base: str = "supervised-av"  # the method whose encoder it is
    base_settings: dict[str, Any] = field(default_factory=dict)  # that method's own settings
    view: str = "video"  # whose encoder it is
    changes: dict[str, Any] = field(default_factory=dict)  # of the view, such as {"frames": 32, "size": 224}
    dropout: float = 0.5  # on the features, in training
    frozen: bool = False  # only the linear layer learns

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout is a probability, 0 <= dropout < 1")

    @classmethod
    def tiny(cls) -> ClassifierSettings:
        """Return settings for tests and dry runs."""
        from coview.methods.supervised_av import SupervisedAVSettings

        return cls(base_settings=to_dict(SupervisedAVSettings.tiny()), dropout=0.2)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the view as the base has it, with the changes; a second clip's delay is left out.

        Raises:
            UsageError, SettingsError: the base is unknown or has no such view, or the changes do not fit it.
        """
        from coview.methods import load_method

        known = from_dict(load_method(self.base).Settings, self.base_settings).specs()
        if self.view not in known:
            raise UsageError(f"{self.base} has no view {self.view!r}; it has {', '.join(known)}")
        spec = known[self.view]
        still = {"after": None} if getattr(spec, "after", None) else {}
        try:
            return {self.view: dataclasses.replace(spec, **{**still, **self.changes})}
        except (TypeError, ValueError) as error:
            raise SettingsError([f"changes: {error}"]) from error


class Classifier(Method):
    """The head is the view's projector: a kept model's projected space holds the class scores (B, classes)."""

    about = About(
        slug="classifier",
        title="Classifier of one view on a given encoder (fine-tuning, linear probe by gradient)",
        paper="Morgado et al., Audio-Visual Instance Discrimination with Cross-Modal Agreement, CVPR 2021",
        family="protocol",
        state="working: the protocol's network; its published accuracies need data that is not at hand",
    )
    Settings = ClassifierSettings
    settings: ClassifierSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=1e-4, weight_decay=0.0),
        schedule=ScheduleSettings(milestones=(0.375, 0.625, 0.875), gamma=0.3),
        epochs=16,
        clips_per_recording=10,
    )
    labelled = True
    least_classes = 2
    coupling: Coupling = "none"

    def __init__(self, settings: ClassifierSettings, facts: Facts) -> None:
        from coview.methods import build

        super().__init__(settings, facts)
        base = build(settings.base, settings.base_settings, replace(facts, training=False))
        if settings.view not in base.encoders:
            raise UsageError(f"{settings.base} has no encoder of {settings.view!r}; it has {', '.join(base.encoders)}")
        self.view = settings.view
        encoder = base.encoders[self.view]
        self.encoders = nn.ModuleDict({self.view: encoder})
        self.projectors = nn.ModuleDict({self.view: LinearHead(dim_of(encoder), facts.classes)})
        if settings.frozen:
            self.encoders.requires_grad_(False)

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode; a frozen encoder keeps that of evaluation."""
        super().train(mode)
        if self.settings.frozen:
            self.encoders.eval()
        return self

    def learn(self, batch: Batch) -> Step:
        """Return the cross-entropy of the labelled samples that have the view; part: accuracy."""
        features = self._features(batch.views[self.view])
        logits = self.projectors[self.view](self._dropped(features, batch.key))
        losses = in_float32(cross_entropy)(logits, batch.label, reduction="none")
        accuracy = mean_over_world((logits.detach().argmax(1) == batch.label).to(losses))
        return Step(mean_over_world(losses), {"accuracy": accuracy}, {self.view: features.detach()})

    def _features(self, view: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.settings.frozen):
            features: Tensor = self.encoders[self.view](view)
        return features

    def _dropped(self, features: Tensor, key: Tensor) -> Tensor:
        """Drop features in training, drawn from each sample's key: the same on any number of processes."""
        rate = self.settings.dropout
        if not self.training or not rate:
            return features
        kept = uniform(key, _DROPOUT, features.shape[1]) >= rate
        return features * kept.to(features) / (1 - rate)
