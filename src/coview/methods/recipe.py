"""Recipes: how a method is trained. Optimiser, schedule, augmentation, batch and length, as plain settings.

Every method comes with two, its published one and one for small computers (`Method.recipe`); `coview pretrain` starts
from them where nothing else is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from coview.data.augment import AugmentSettings

Decay = Literal["matrices", "everything"]


@dataclass(frozen=True, kw_only=True)
class OptimiserSettings:
    """How gradients become steps; the default is the card of xID."""

    kind: Literal["adam", "adamw", "sgd", "lars", "larc", "larc-swav"] = "adam"  # which optimiser
    lr: float = 5e-4  # peak
    weight_decay: float = 1e-5  # how strongly weights are drawn to zero
    # What is decayed: "matrices" spares biases and normalisation, "everything" is what many released codes do; None:
    # the method's own choice.
    decay: Decay | None = None
    betas: tuple[float, float] = (0.9, 0.999)  # adam, adamw
    momentum: float = 0.9  # sgd, lars, larc, larc-swav
    trust: float = 0.001  # lars, larc: the step of a matrix as a fraction of its norm
    clip_gradient: float | None = None  # largest norm of the whole gradient

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.weight_decay < 0 or self.trust <= 0:
            raise ValueError("an optimiser needs lr > 0, weight_decay >= 0 and trust > 0")
        if self.clip_gradient is not None and self.clip_gradient <= 0:
            raise ValueError("clip_gradient must be > 0, or null for no clipping")


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """How the learning rate moves; every position is a fraction of the run."""

    # How the rate moves after the warm-up.
    kind: Literal["constant", "multistep", "linear", "cosine", "one-cycle"] = "multistep"
    warm_up: float = 0.0  # fraction of the run
    # First rate of the warm-up as a fraction of the peak, which its last step reaches; None: the first step's share.
    warm_up_from: float | None = None
    hold: float = 0.0  # linear, cosine, one-cycle: fraction of the run at the peak, after warm-up
    milestones: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # multistep
    gamma: float = 0.9  # multistep: factor at each milestone
    final: float = 0.0  # linear, cosine, one-cycle: last rate as a fraction of the peak
    swings: int = 1  # cosine: halves of a period; with more than one the rate rises again, and falls

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up < 1 or not 0 <= self.final <= 1:
            raise ValueError("a schedule needs 0 <= warm_up < 1 and 0 <= final <= 1, both fractions")
        if self.warm_up_from is not None and not 0 <= self.warm_up_from <= 1:
            raise ValueError("warm_up_from is a fraction of the peak rate, from 0 to 1")
        if self.warm_up_from is not None and self.kind == "one-cycle":
            raise ValueError("one-cycle has its own start of the warm-up, 1/25; warm_up_from is for the other kinds")
        if self.swings < 1 or (self.swings > 1 and self.kind != "cosine"):
            raise ValueError("swings is 1 or more, and more than 1 only with cosine")
        if any(not 0 < milestone < 1 for milestone in self.milestones):
            raise ValueError("milestones are fractions of the run, between 0 and 1")
        if self.hold < 0 or self.warm_up + self.hold >= 1:
            raise ValueError("warm_up and hold together must leave a part of the run, and hold must not be negative")
        if self.kind == "one-cycle" and self.warm_up == 0:
            raise ValueError("one-cycle needs warm_up > 0, such as 0.3")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a method is trained; the defaults are what every run had before methods brought recipes of their own."""

    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    batch_size: int = 32  # samples per optimiser step, all processes together
    epochs: int = 100
    clips_per_recording: int = 1  # cuts of each recording in an epoch

    def __post_init__(self) -> None:
        if min(self.batch_size, self.epochs, self.clips_per_recording) < 1:
            raise ValueError("a recipe needs batch_size, epochs and clips_per_recording of at least 1")
