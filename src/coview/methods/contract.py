"""What a method is: one module that owns its networks and its objective, and declares what the rest needs to know.

The training loop, the sweep test, the dry run and the exporter know methods only through this file.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from coview.data.views import Batch, ViewSpec

Coupling = Literal["none", "negatives", "statistics", "bank", "assignment"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a method may know about the collection before it is built."""

    rows: int  # recordings in the training split: the size of a memory bank
    classes: int = 0  # labels in the collection; 0 where it has none


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
    """

    loss: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    embeddings: dict[str, Tensor] = field(default_factory=dict)


class Method(nn.Module, ABC):
    """Base of all methods: the declarations, and hooks that do nothing unless a method needs them.

    Attributes:
        about: who the method is.
        settings: its keyword-only dataclass; the class that builds it is `Settings`, whose class method `tiny()`
            returns settings small enough for tests, dry runs and the demo.
        views: view name -> specification of what `forward` wants.
        encoders: view name -> backbone with `.dim`; views may share one.
        projectors: view name -> head into the space where views are compared; may be empty.
        coupling: how the loss ties samples across processes.
        closed_form: `fit_targets` and `finish` are all there is to it, and no step is needed.
        least_batch: fewest samples of the global batch that the loss can be computed on.
        negatives: negatives per anchor for a global batch, for the dry run; None where the method has none.
    """

    about: ClassVar[About]
    Settings: ClassVar[type[Any]]
    closed_form: ClassVar[bool] = False
    settings: Any
    views: Mapping[str, ViewSpec]
    encoders: nn.ModuleDict
    projectors: nn.ModuleDict
    coupling: Coupling
    least_batch: int = 1
    shapes_suffice: ClassVar[bool] = False  # the forward pass runs without numbers: a dry run then needs no memory

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        missing = [name for name in ("about", "Settings") if not hasattr(cls, name)]
        if missing:
            raise TypeError(f"{cls.__name__} must declare {' and '.join(missing)}")

    @abstractmethod
    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, batch: Batch) -> Step:
        """Return the loss of a batch of model views."""

    @abstractmethod
    def example_batch(self, size: int, seed: int) -> Batch:
        """Return a batch of model views of the right shapes, the same for the same seed on any computer."""

    def negatives(self, global_batch: int) -> int | None:
        """Return how many negatives each anchor sees in a global batch of this size."""
        return None

    def chance_loss(self, global_batch: int) -> float | None:
        """Return the loss of embeddings that are all the same, where a run can be stuck; None where there is none."""
        negatives = self.negatives(global_batch)
        return math.log(negatives + 1) if negatives else None

    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """Fit what the objective needs once, before the first step."""

    def refresh(self, epoch: int, embed: Any) -> None:
        """Recompute targets between epochs."""

    def after_step(self) -> None:
        """Update what follows the optimiser step: a slow teacher, a bank, a queue."""

    def finish(self, embed: Any) -> None:
        """Fit, once after the last step, what the trained networks are read through, such as a linear map.

        `embed(space)` yields the `embedding.extract.Features` of the whole source, the same on every process.
        """

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Return optimiser groups; biases and normalisation parameters carry no weight decay."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
