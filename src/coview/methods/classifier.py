"""Classifier of one view: the encoder of another method, dropout and a linear layer, learnt from labels.

The network of the transfer protocols (AVID, arXiv 2004.12943, and AV-SSRL): fine-tuning, where everything learns, and
the linear probe by gradient, where the encoder is frozen.

    loss = cross-entropy(W dropout(f(view)) + b, label), mean over the labelled samples, + joint * the base's own loss

With `marks` a sample may be of several classes: the sum over classes of binary cross-entropies, unclear ones left out
(Krähenbühl et al., ICLR 2016, arXiv 1511.06856). `beside` puts the given encoder, frozen, beside a new one; `joint`
goes on with what the encoder learnt before, on one trunk, from samples without a label too.

A frozen encoder stays in evaluation mode, batch normalisation included; the released codes put the whole network in
training mode, so that the statistics of their "frozen" encoders drift.

Published recipe (AVID, UCF-101): Adam at 1e-4, times 0.3 after epochs 6, 10 and 14 of 16, ten clips of each recording
an epoch; `coview evaluate fine-tune` puts epochs of the linear layer alone before them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.encoders import Encoder, LinearHead
from coview.encoders.composed import Beside, UpTo, stages_from
from coview.encoders.rescaling import absorb_batchnorm
from coview.errors import SettingsError, UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, enough
from coview.methods.parts.towers import dim_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.precision import in_float32
from coview.parallel import mean_over_world
from coview.randomness import uniform
from coview.settings import from_dict, to_dict

MARKS = "marks"  # view of a sample's classes: of each 1, it is there, -1, it is not, or 0, unclear
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
    marks: int = 0  # classes of which a sample may be of several, by the view "marks"; 0: it has one label
    head_from: str | None = None  # stage whose mean the linear layer reads; None: the features
    train_from: str | None = None  # first stage that learns; None: all
    beside: bool = False  # the encoder stands, frozen, beside a new one
    joint: float = 0.0  # weight of the base's own loss, on the one encoder
    absorbed: bool = False  # the encoder's batch normalisation is folded into its layers
    bias_rate: float = 1.0  # factor on the learning rate of biases

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout is a probability, 0 <= dropout < 1")
        if min(self.marks, self.joint) < 0 or self.bias_rate <= 0:
            raise ValueError("marks is a number of classes and joint a weight, not below 0; bias_rate is above 0")
        if self.joint and (self.frozen or self.beside or self.changes):
            raise ValueError("joint trains the base's own encoder on its own views: not frozen, beside, with changes")
        if self.beside and (self.frozen or self.train_from):
            raise ValueError("beside a given encoder a whole new one learns: not frozen, no train_from")

    @classmethod
    def tiny(cls) -> ClassifierSettings:
        """Return settings for tests and dry runs."""
        from coview.methods.supervised_av import SupervisedAVSettings

        return cls(base_settings=to_dict(SupervisedAVSettings.tiny()), dropout=0.2)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the view as the base has it, with the changes; what it has of another view is left out: it is alone.

        Raises:
            UsageError, SettingsError: the base is unknown or has no such view, or the changes do not fit it.
        """
        from coview.methods import load_method

        known = from_dict(load_method(self.base).Settings, self.base_settings).specs()
        if self.view not in known:
            raise UsageError(f"{self.base} has no view {self.view!r}; it has {', '.join(known)}")
        spec = known[self.view]
        alone = {name: None for name in ("after", "of", "with_") if getattr(spec, name, None)}
        marks: dict[str, ViewSpec] = {MARKS: FeaturesView(dim=self.marks)} if self.marks else {}
        if self.joint:
            return {**known, **marks}
        try:
            return {self.view: dataclasses.replace(spec, **{**alone, **self.changes}), **marks}
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

        super().__init__(settings, replace(facts, classes=settings.marks or facts.classes))
        joint = bool(settings.joint) and facts.training
        base = build(settings.base, settings.base_settings, replace(facts, training=joint))
        if settings.view not in base.encoders:
            raise UsageError(f"{settings.base} has no encoder of {settings.view!r}; it has {', '.join(base.encoders)}")
        self.view = settings.view
        encoder = cast(Encoder, base.encoders[self.view])
        if settings.absorbed:
            absorb_batchnorm(encoder)
        self._fixed = _below(encoder, settings)
        for part in self._fixed:
            part.requires_grad_(False)
        if settings.head_from:
            encoder = UpTo(encoder, settings.head_from, self.views[self.view].shape)
            for parameter in () if settings.joint else encoder.unread:  # processes would wait for its gradient
                parameter.requires_grad_(False)
        if settings.beside:
            encoder = Beside(copy.deepcopy(encoder), encoder)
        self.encoders = nn.ModuleDict({self.view: encoder})
        self.projectors = nn.ModuleDict({self.view: LinearHead(dim_of(encoder), self.facts.classes)})
        if settings.joint:  # kept with the model, since they are learnt too
            self.makers = nn.ModuleDict(besides(base, self.view))
        self.base = base if joint else None
        if joint:
            self.coupling, self.least_batch = base.coupling, base.least_batch

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode; what is frozen keeps that of evaluation."""
        super().train(mode)
        for part in self._fixed:
            part.eval()
        return self

    def forward(self, batch: Batch) -> Step:
        """See `Method.forward`; with the base's own loss of all samples, labelled or not."""
        step = super().forward(batch)
        if self.base is None:
            return step
        own = self.base(batch)
        loss = step.loss + self.settings.joint * own.loss
        return Step(loss, {**step.parts, "base": own.loss.detach()}, step.embeddings, step.idle and own.idle)

    def usable(self, batch: Batch) -> Batch | None:
        """See `Method.usable`: samples with the view and a label, or with marks."""
        marks = [MARKS] if self.settings.marks else []
        batch = complete(batch, [self.view, *marks], labelled=not marks)
        return batch if enough(batch, 1) else None

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples; part: accuracy, of marks the share of clear ones on their side of 0."""
        features = self._features(batch.views[self.view])
        logits = self.projectors[self.view](self._dropped(features, batch.key))
        if self.settings.marks:
            losses, right = of_marks(logits, batch.views[MARKS])
        else:
            losses = in_float32(cross_entropy)(logits, batch.label, reduction="none")
            right = (logits.detach().argmax(1) == batch.label).to(losses)
        return Step(mean_over_world(losses), {"accuracy": mean_over_world(right)}, {self.view: features.detach()})

    def lr_scale(self, name: str) -> float:
        """See `Method.lr_scale`."""
        own = 1.0 if self.base is None else self.base.lr_scale(name.removeprefix("base."))
        return own * (self.settings.bias_rate if name.endswith(".bias") else 1.0)

    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """See `Method.fit_targets`: the base's."""
        if self.base is not None:
            self.base.fit_targets(samples)

    def refresh(self, epoch: int, embed: Any) -> None:
        """See `Method.refresh`: the base's."""
        if self.base is not None:
            self.base.refresh(epoch, embed)

    def after_step(self) -> None:
        """See `Method.after_step`: the base's too."""
        super().after_step()
        if self.base is not None:
            self.base.after_step()

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


@in_float32
def of_marks(logits: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of every sample (B,), the sum over classes of binary cross-entropies, and the share of classes
    on their side of 0 (B,); both (B, C) in, and classes whose mark is 0 count in neither.
    """
    clear = (marks != 0).to(logits)
    losses = binary_cross_entropy_with_logits(logits, (marks > 0).to(logits), weight=clear, reduction="none")
    right = ((logits.detach() > 0) == (marks > 0)).to(logits) * clear
    return losses.sum(1), right.sum(1) / clear.sum(1).clamp(min=1)


def besides(base: Method, view: str) -> dict[str, nn.ModuleDict]:
    """Return what a method has beside the encoder of a view."""
    others = nn.ModuleDict({name: encoder for name, encoder in base.encoders.items() if name != view})
    return {"other_encoders": others, "base_heads": base.projectors, "base_makers": base.makers}


def _below(encoder: nn.Module, settings: ClassifierSettings) -> list[nn.Module]:
    """Return the parts of an encoder that do not learn."""
    if settings.frozen:
        return [encoder]
    if settings.train_from is None:
        return []
    learning = stages_from(encoder, settings.train_from)
    return [part for name, part in encoder.named_children() if name not in learning]
