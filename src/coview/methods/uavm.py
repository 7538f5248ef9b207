"""UAVM: one transformer and one classifier for the features of sounds and of pictures, of which a step sees one kind.

Y. Gong, A. H. Liu, A. Rouditchenko, J. Glass, "UAVM: Towards Unifying Audio and Visual Models", IEEE Signal Processing
Letters 29, 2022 (arXiv 2208.00061). Views are sequences of features of frozen encoders, each step scaled to length 1.
With f_m the transformer of view m, g the shared one and h a layer normalisation and a linear layer,

    z_m = h(mean over time of g(f_m(x_m)))        loss = cross-entropy(z_m, soft label), one m in every step

(`coview.objectives.mixup`). Nothing compares the two views, and yet `coview evaluate retrieval` finds one by the other.
Which view a step sees is drawn from the key of the first sample of all processes, so that it is the same for all of
them; a recording needs that view alone. The class of both is that of the mean of the two logits (`logits`).

`shared_depth` 0 gives each view a classifier of its own: two models that know nothing of each other. `form`
concatenated shows the shared transformer both sequences in a row, with positions of their own: full attention.
`own_depth` 0 leaves of f_m a linear layer. Zeros that fill a short sequence take part, as in the released code. A
process waits for the gradient of every weight, so those of the view that is not seen get one of 0: Adam moves them on
by what it remembers.

Published recipe (VGGSound): Adam at 5e-5, halved every epoch from the first on, betas .95 and .999, decay 5e-7 on
everything, 144 recordings a batch, drawn by the rarity of their class, 10 epochs. AudioSet: `loss` sigmoid, at 1e-5
(there with several labels a recording, here with one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from coview.data.augment import PRESETS
from coview.data.source import Source
from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.encoders import Head
from coview.encoders.sequence_transformer import ENDS, SequenceTransformer
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, enough, idle_loss, unit
from coview.methods.reading import Space
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.mixup import draw_mixtures, soft_binary, soft_cross_entropy, soft_targets
from coview.parallel import gather, mean_over_world
from coview.randomness import uniform

_TURN, _ROLL, _MIXTURE = 8600, 8601, 8602  # streams of a sample's key; a mixture takes three
JOINT = "joint"  # both views taken together


def _published() -> dict[str, ViewSpec]:
    return {name: FeaturesView(dim=1024, steps=30) for name in ("audio", "video")}


@dataclass(frozen=True, kw_only=True)
class UAVMSettings:
    """Settings of UAVM; the defaults are the published ones."""

    any_features: ClassVar[bool] = True

    views: dict[str, ViewSpec] = field(default_factory=_published)
    form: Literal["unified", "concatenated"] = "unified"  # whether one view is seen at a time, or both in a row
    own_depth: int = 3  # blocks of each view's own transformer; 0: a linear layer
    shared_depth: int = 3  # blocks of the shared one; 0: a classifier for each view
    embedding: int = 1024  # width of the views' own transformers
    shared_embedding: int = 1024  # width of the shared one, 16 to 1024 in the paper's study
    heads: int = 4  # of every block
    first_share: float = 0.5  # how often a step sees the first view
    loss: Literal["softmax", "sigmoid"] = "softmax"  # cross-entropy, or a binary one for each class
    smoothing: float = 0.1  # of the labels
    mixed: float = 0.5  # rate of samples that are mixed with another
    rolled: bool = True  # sequences are turned round by a random number of steps
    balanced: bool = True  # recordings are drawn by the rarity of their class

    def __post_init__(self) -> None:
        if len(self.views) != 2 or any(spec.stream != "features" for spec in self.views.values()):
            raise ValueError("views: uavm needs two views of features that were computed before")
        if JOINT in self.views:
            raise ValueError(f"views: {JOINT!r} is what uavm calls both of them together; call this one otherwise")
        if min(self.own_depth, self.shared_depth) < 0 or self.heads < 1:
            raise ValueError("own_depth and shared_depth cannot be below 0, and heads is at least 1")
        if any(width < 1 or width % self.heads for width in (self.embedding, self.shared_embedding)):
            raise ValueError("embedding and shared_embedding are multiples of heads")
        if not 0 < self.first_share < 1 or not 0 <= self.smoothing < 1 or not 0 <= self.mixed <= 1:
            raise ValueError("first_share lies between 0 and 1, smoothing is below 1, mixed a rate from 0 to 1")
        if self.form == "concatenated" and not self.shared_depth:
            raise ValueError("form concatenated is about the shared transformer: shared_depth is at least 1")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and dry runs: two short feature vectors."""
        views: dict[str, ViewSpec] = {"left": FeaturesView(dim=12), "right": FeaturesView(dim=9)}
        return cls(views=views, own_depth=1, shared_depth=1, embedding=16, shared_embedding=16)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return dict(self.views)


class UAVM(Method):
    """A transformer for each view, the shared one (`projectors`), and classifiers; in training `chance` (rows,)."""

    about = About(
        slug="uavm",
        title="UAVM: one transformer for sounds and pictures, one of them in every step",
        paper="Gong et al., UAVM: Towards Unifying Audio and Visual Models, SPL 2022; arXiv 2208.00061",
        family="fusion",
        state="verified: logits, features, attention, losses and gradients equal values of the official code",
    )
    Settings = UAVMSettings
    settings: UAVMSettings
    published = Recipe(
        optimiser=OptimiserSettings(lr=5e-5, betas=(0.95, 0.999), weight_decay=5e-7, decay="everything"),
        schedule=ScheduleSettings(milestones=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), gamma=0.5),
        augment=PRESETS["none"],
        batch_size=144,
        epochs=10,
    )
    small = Recipe(optimiser=OptimiserSettings(lr=1e-3), augment=PRESETS["none"], batch_size=64)
    labelled = True
    least_classes = 2
    coupling: Coupling = "none"
    chance: Tensor

    def __init__(self, settings: UAVMSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        wide, shared = settings.embedding, settings.shared_embedding
        steps = {name: _steps(spec) for name, spec in self.views.items()}
        for name, spec in self.views.items():
            dim = spec.shape[-1]
            self.encoders[name] = (
                SequenceTransformer(dim, wide, steps[name], settings.heads, settings.own_depth)
                if settings.own_depth
                else Head(wide, nn.LayerNorm(dim, ENDS), nn.Linear(dim, wide))
            )
        longest = sum(steps.values()) if settings.form == "concatenated" else max(steps.values())
        if settings.shared_depth:
            both = SequenceTransformer(wide, shared, longest, settings.heads, settings.shared_depth)
            if settings.form == "unified":
                self.projectors = nn.ModuleDict(dict.fromkeys(self.views, both))
            else:
                self.makers[JOINT] = both
            self.makers["classifier"] = _classifier(shared, facts.classes)
        else:
            self.makers.update({f"classifier_{name}": _classifier(wide, facts.classes) for name in self.views})
        self.register_buffer("chance", torch.zeros(facts.rows if facts.training else 0, dtype=torch.float64))

    def study(self, source: Source) -> None:
        """Count the classes, so that each is drawn equally often."""
        if self.settings.balanced:
            known = source.labels >= 0
            counts = torch.bincount(source.labels[known])
            self.chance[known] = 1 / counts[source.labels[known]].to(self.chance)

    def chances(self) -> Tensor | None:
        """Return 1 over the recordings of each one's class, 0 without a label."""
        return self.chance if bool(self.chance.any()) else None

    def needs(self, batch: Batch) -> list[str]:
        """Return the view that the step sees, drawn for all processes from the first one's first sample; or both."""
        first, second = self.views
        if self.settings.form == "concatenated":
            return [first, second]
        turn = uniform(gather(batch.key)[:1], _TURN) < self.settings.first_share
        return [first if bool(turn.all()) else second]

    def usable(self, batch: Batch) -> Batch | None:
        """See `Method.usable`; with the views that the step sees and no other."""
        seen = {name: batch.views[name] for name in self.needs(batch)}
        batch = complete(replace(batch, views=seen), seen, labelled=True)
        return batch if enough(batch, self.least_batch) else None

    def learn(self, batch: Batch) -> Step:
        """Return the loss of the samples, of which only what the step sees is known; part: accuracy/<view>.

        Part and embedding are of the view that was seen, or of both together, "joint".
        """
        x = {name: sequence(batch, name) for name in batch.views}
        partner, label, share = batch.label, batch.label, torch.ones_like(batch.key, dtype=torch.float32)
        if self.training:
            everyone = gather(batch.label)
            place, share = draw_mixtures(batch.key, _MIXTURE, len(everyone), self.settings.mixed)
            partner = everyone[place]
            x = {name: self._varied(value, place, share, batch.key) for name, value in x.items()}
        pooled, logits = self._read(x)
        name = next(reversed(logits))
        share = share.to(logits[name])
        target = soft_targets(label, partner, share, self.facts.classes, self.settings.smoothing)
        cost = soft_cross_entropy if self.settings.loss == "softmax" else soft_binary
        losses = cost(logits[name], target)
        right = (logits[name].detach().argmax(1) == label).to(losses)
        parts = {f"accuracy/{name}": mean_over_world(right)}
        loss = mean_over_world(losses) + idle_loss(self).to(losses)
        return Step(loss, parts, {name: pooled[name].detach()})

    def logits(self, batch: Batch) -> dict[str, Tensor]:
        """Return view -> class scores (B, classes) of a batch's views; "joint", of two, is the mean of theirs.

        It is the mean of the scores, not of the probabilities. In form concatenated "joint" is all there is.
        """
        scores = self._read({name: sequence(batch, name) for name in batch.views})[1]
        if len(scores) == 2:
            scores[JOINT] = torch.stack(list(scores.values())).mean(0)
        return scores

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`: the mean over time of a view's own transformer, and of the shared one.

        In form concatenated, of all views together: "joint", in both spaces.
        """
        x = {name: sequence(batch, name) for name in self.views if name in batch.views}
        if self.settings.form == "concatenated":
            found = self._read(x)[0] if len(x) == 2 else {}
        elif space == "backbone":
            found = {name: self.encoders[name](value).mean(1) for name, value in x.items()}
        else:
            found = self._read(x)[0]
        for name in found:
            if lacking := [each for each in ([name] if name in x else x) if not batch.has_all(each)]:
                there = torch.stack([batch.present[each] for each in lacking]).all(0)
                found[name] = torch.where(there[:, None], found[name], 0.0)
        return found

    def _read(self, x: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what is classified, means over time (B, E), and class scores (B, C), of each view or of both."""
        own = {name: self.encoders[name](value) for name, value in x.items()}
        if self.settings.form == "concatenated":
            own = {JOINT: self.makers[JOINT](torch.cat(list(own.values()), 1))}
        seen = {name: self.projectors[name](v) if name in self.projectors else v for name, v in own.items()}
        pooled = {name: value.mean(1) for name, value in seen.items()}
        last = "classifier" if self.settings.shared_depth else "classifier_{}"
        return pooled, {name: self.makers[last.format(name)](value) for name, value in pooled.items()}

    def _varied(self, x: Tensor, place: Tensor, share: Tensor, key: Tensor) -> Tensor:
        """Return sequences (N, T, D) mixed with those at `place` of all processes, then turned round."""
        part = share.to(x)[:, None, None]
        x = part * x + (1 - part) * gather(x)[place]
        if not self.settings.rolled:
            return x
        steps = x.shape[1]
        shift = (uniform(key, _ROLL) * steps).long()  # one fraction of the length for all views
        index = (torch.arange(steps, device=x.device) - shift[:, None]) % steps
        return x.gather(1, index[:, :, None].expand_as(x))


def sequence(batch: Batch, name: str) -> Tensor:
    """Return a view, (B, T, D) or (B, D), as the networks see it: (B, T, D), steps of length 1, 0 behind the end."""
    value = batch.views[name]
    x = unit(value if value.ndim == 3 else value[:, None])
    return x * batch.mask(name)[:, :, None] if name in batch.length else x


def _steps(spec: ViewSpec) -> int:
    return spec.shape[0] if len(spec.shape) == 2 else 1


def _classifier(dim: int, classes: int) -> Head:
    """Return what a mean over time is classified by."""
    return Head(classes, nn.LayerNorm(dim, ENDS), nn.Linear(dim, classes))
