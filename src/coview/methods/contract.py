"""What a method is: one module that owns its networks and its objective, and declares what the rest needs to know.

The training loop, the sweep test, the dry run and the exporter know methods only through this file
and `reading.py`, the half that reads what was learnt.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from coview.data.source import Source
from coview.data.views import Batch
from coview.encoders.base import Encoder
from coview.errors import UsageError
from coview.methods.parts.batch import complete, enough, example, idle_loss
from coview.methods.reading import Reading
from coview.methods.recipe import Decay, Recipe

Coupling = Literal["none", "negatives", "statistics", "bank", "assignment"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a method may know about the collection before it is built."""

    rows: int  # recordings in the training split: the size of a memory bank
    classes: int = 0  # labels in the collection; 0 where it has none
    training: bool = True  # False: built to embed, without what only training needs (memories, queues, targets)


@dataclass(frozen=True, kw_only=True)
class About:
    """A method's row in `coview methods`."""

    slug: str
    title: str
    paper: str
    family: str
    state: str  # "verified", "working" or "reconstruction", and on what that rests


@dataclass
class Step:
    """What one forward pass of a method yields.

    Attributes:
        loss: scalar with graph. Averaged over equal processes it is the global mean over the samples.
        parts: name -> detached scalar, logged as they are.
        embeddings: view -> detached (N, D) in the space where views are compared; watchers read them. The N <= B rows
            are the samples that the loss used, in the batch's order; without any, there are no embeddings.
        idle: there was nothing to learn from, on any process: the loss is no measurement, and no weight may move.
        used: samples that the loss used; None: as many as the embeddings have rows.
    """

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    idle: bool = False
    used: int | None = None


class Method(Reading, ABC):
    """Base of all methods: the declarations, and hooks that do nothing unless a method needs them (`Reading`: after).

    Attributes:
        about: who the method is.
        settings: its keyword-only dataclass; the class that builds it is `Settings`, whose class method `tiny()`
            returns settings small enough for tests, dry runs and the demo, and whose `specs()` says, without building
            anything, the views that a method of these settings has.
        published, small: how it is trained, as published and on a small computer; `recipe` returns them.
        decays: what weight decay acts on where the optimiser's settings do not say.
        renamed_views: former name -> name of views, in models and stored sets that were written before.
        facts: what it was told of the collection.
        coupling: how the loss ties samples across processes.
        closed_form: `fit_targets` and `finish` are all there is to it, and no step is needed.
        labelled: only samples with a label are learnt from.
        least_classes: labels that the collection must have.
        least_batch: fewest samples of the global batch that the loss can be computed on.
        takes_some: what it makes of several views at once (`embed`) is made of those that a recording has, not only
            where it has them all.
        beside: what a sample must have beside its views to be learnt from, for messages; "" for nothing.
        negatives: negatives per anchor for a global batch, for the dry run; None where the method has none.
    """

    about: ClassVar[About]
    Settings: ClassVar[type[Any]]
    published: ClassVar[Recipe] = Recipe()
    small: ClassVar[Recipe] = Recipe()
    decays: ClassVar[Decay] = "matrices"
    renamed_views: ClassVar[Mapping[str, str]] = {}
    closed_form: ClassVar[bool] = False
    labelled: ClassVar[bool] = False
    least_classes: ClassVar[int] = 0
    takes_some: ClassVar[bool] = False
    beside: ClassVar[str] = ""
    settings: Any
    facts: Facts
    coupling: Coupling
    least_batch: int = 1
    length_matters: ClassVar[bool] = False  # a step depends on how many epochs are planned: a run cannot be made longer
    shapes_suffice: ClassVar[bool] = False  # the forward pass runs without numbers: a dry run then needs no memory

    def __init_subclass__(cls, base: bool = False) -> None:
        super().__init_subclass__()
        if base:  # what several systems have in common is none itself
            return
        missing = [name for name in ("about", "Settings") if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} must declare {' and '.join(missing)}")

    @abstractmethod
    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__()
        if facts.classes < self.least_classes:
            lack = "too few" if facts.classes else "none"
            raise UsageError(
                f"{self.about.slug} needs a collection with at least {self.least_classes} labels, found "
                f"{facts.classes}: it learns from labels, and this collection has {lack}"
            )
        self.settings, self.facts = settings, facts
        if hasattr(settings, "specs"):  # a method that came before `specs` says its views itself
            self.views = dict(settings.specs())
        self.encoders, self.projectors, self.makers = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        # What forward passes in training leave for `take_in`, one entry each.
        self.waiting: list[tuple[Any, ...]] = []

    @classmethod
    def recipe(cls, tiny: bool = False) -> Recipe:
        """Return how the method is trained: as published, or with its smallest settings on a small computer."""
        return cls.small if tiny else cls.published

    @classmethod
    def fitted(cls, settings: Any, rows: int) -> Any:
        """Return the method's settings with no more clusters or positives than `rows` recordings allow."""
        return settings

    def forward(self, batch: Batch) -> Step:
        """Return the step of a batch of model views: `learn` from the usable samples, idle where there are too few."""
        usable = self.usable(batch)
        return self.idle() if usable is None else self.learn(usable)

    def learn(self, batch: Batch) -> Step:
        """Return loss, parts and embeddings of samples that have what `needs` names, and a label where one is needed.

        Of all processes there are at least `least_batch` of them; a process may have none. Here `step_of` what
        `encode` yields; a method that has these two can be trained on batches larger than memory (`train.cached`).
        """
        return self.step_of(batch, self.encode(batch))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Return name -> what the loss is computed on (N, ...), a row of one sample; no row depends on another one.

        A sample may be left out of a name that it lacks; the others keep the batch's order. There are the same names
        for any part of the samples, down to none of them.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither `learn` nor `encode` and `step_of` of its own")

    def step_of(self, batch: Batch, encoded: Mapping[str, Tensor]) -> Step:
        """Return the step of samples, as `learn`, of what `encode` yields of them; their views are not looked at."""
        raise NotImplementedError(f"{type(self).__name__} has no `step_of` of its own")

    def usable(self, batch: Batch) -> Batch | None:
        """Return the samples that can be learnt from, or None where all processes together hold too few of them.

        The answer None is the same on all processes.
        """
        batch = complete(batch, self.needs(batch), self.labelled)
        return batch if enough(batch, self.least_batch) else None

    def needs(self, batch: Batch) -> Iterable[str]:
        """Return the views that a sample must have to be learnt from in this step, alike on all processes: here all."""
        return self.views

    def idle(self) -> Step:
        """Return the step of a batch that has nothing to learn from: every parameter gets a gradient of zero."""
        return Step(idle_loss(self), idle=True)

    def under_todays_names(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a kept model's weights, which may have been written before, as they are called now."""
        return dict(stored)

    def taken_over(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return another run's or model's weights as they are called where they are to start something here."""
        return dict(stored)

    def example_batch(self, size: int, seed: int) -> Batch:
        """Return a batch of model views of the right shapes, the same for the same seed on any computer."""
        return example(self.views, size, seed, self.facts.rows, self.facts.classes)

    def negatives(self, global_batch: int) -> int | None:
        """Return how many negatives each anchor sees in a global batch of this size."""
        return None

    def chance_loss(self, global_batch: int) -> float | None:
        """Return the loss of embeddings that are all the same, where a run can be stuck; None where there is none."""
        negatives = self.negatives(global_batch)
        return math.log(negatives + 1) if negatives else None

    def study(self, source: Source) -> str | None:
        """Learn, once before the first step and alike on all processes, what has to be known of all recordings.

        `data.source.narrowed` reads some of their views alone. Returns a sentence of what was found, for the log.
        """
        return None

    def chances(self) -> Tensor | None:
        """Return how likely each recording is to be drawn, float64 (rows,), part of the state; None: all equally."""
        return None

    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """Fit what the objective needs once, before the first step."""

    def refresh(self, epoch: int, embed: Any) -> None:
        """Recompute targets between epochs."""

    def after_step(self) -> None:
        """Update what follows the optimiser step, such as a slow teacher; here `take_in`, by what `later` got."""
        for values in self.waiting:
            self.take_in(*values)
        self.waiting.clear()

    def later(self, *values: Any) -> None:
        """Keep what a forward pass in training leaves for `take_in`, after the optimiser's step."""
        if self.training:
            self.waiting.append(values)

    def take_in(self, *values: Any) -> None:
        """Update the state with what one forward pass left, on all processes alike."""

    def finish(self, embed: Any) -> None:
        """Fit, once after the last step, what the trained networks are read through, such as a linear map.

        `embed(space)` yields the `embedding.extract.Features` of the whole source, the same on every process.
        """

    def lr_scale(self, name: str) -> float:
        """Return the factor on the learning rate of the parameter `name`, as `named_parameters` calls it."""
        return 1.0

    def steady(self, name: str) -> bool:
        """Return whether the parameter `name` keeps the peak of the learning rate, whatever the schedule says."""
        return False

    def parameter_groups(self, weight_decay: float, decay: Decay | None = None) -> list[dict[str, Any]]:
        """Return optimiser groups with `params`, `weight_decay`, `lr_scale` and `steady`: what is decayed first.

        With `decay` "matrices", biases and normalisation parameters carry no weight decay; None: as `decays` says.
        """
        groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                spared = (decay or self.decays) == "matrices" and parameter.ndim <= 1
                rate = self.lr_scale(name) * self._encoder_rate(name)
                groups.setdefault((spared, rate, self.steady(name)), []).append(parameter)
        return [
            {"params": params, "weight_decay": 0.0 if spared else weight_decay, "lr_scale": scale, "steady": steady}
            for (spared, scale, steady), params in sorted(groups.items(), key=lambda group: group[0])
        ]

    def _encoder_rate(self, name: str) -> float:
        """Return what the encoder that a parameter belongs to says of its learning rate."""
        part, _, rest = name.partition(".")
        view, _, own = rest.partition(".")
        encoder = self.encoders[view] if part == "encoders" else None
        return encoder.rate(own) if isinstance(encoder, Encoder) else 1.0
