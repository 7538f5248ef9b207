"""Stage probes: a linear classifier on every stage of one frozen encoder, all of them learnt at once.

Zhang, Isola & Efros, "Split-brain autoencoders", CVPR 2017 (arXiv 1611.09842), section 4.1: the maps of a stage are
brought to about 9,600 numbers (`form`), normalised by batch statistics without scale and shift, and read by one linear
layer; the losses are added up, and no gradient reaches the encoder.

    loss = sum_stages cross-entropy(W_s flatten(norm_s(reduce_s(maps_s))) + b_s, label), mean over the samples

"bilinear" resizes maps to the largest side whose square times the channels is at most `numbers`; "average" takes means
over overlapping windows (Goyal et al., ICCV 2019, arXiv 1905.01235), whose stride is one below the side's share of the
map: on AlexNet these are the published kernels. Maps that are no larger stay as they are; of clips, the mean over time.

Recipe: SGD, 0.01 times 0.1 at every 40,000 of 140,000 steps of 256, decay 5e-4, biases at twice the rate without decay,
crops of 227 from 256 pixels, mirrored or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate

from coview.data.augment import PRESETS
from coview.data.views import Batch, ViewSpec
from coview.encoders import Encoder
from coview.encoders.rescaling import absorb_batchnorm
from coview.errors import UsageError
from coview.methods.classifier import ClassifierSettings
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.reading import Space
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.precision import in_float32
from coview.parallel import mean_over_world

Form = Literal["bilinear", "average"]
_AREA = (227 / 256) ** 2  # of the picture, that a crop has


@dataclass(frozen=True, kw_only=True)
class StageProbesSettings:
    """Whose stages are probed, and in which form."""

    base: str = "supervised-av"  # the method whose encoder it is
    base_settings: dict[str, Any] = field(default_factory=dict)  # that method's own settings
    view: str = "video"  # whose encoder it is
    changes: dict[str, Any] = field(default_factory=dict)  # of the view, such as {"size": 227}
    stages: tuple[str, ...] = ()  # which; none: all
    form: Form = "bilinear"  # how maps are made smaller
    numbers: int = 9600  # of a stage, at most
    absorbed: bool = False  # the encoder's batch normalisation is folded into its layers

    def __post_init__(self) -> None:
        if self.numbers < 1:
            raise ValueError("a stage has at least one number")

    @classmethod
    def tiny(cls) -> StageProbesSettings:
        """Return settings for tests and dry runs."""
        return cls(base_settings=ClassifierSettings.tiny().base_settings, numbers=256)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the view as the base has it, with the changes; see `ClassifierSettings.specs`."""
        like = ClassifierSettings(
            base=self.base, base_settings=self.base_settings, view=self.view, changes=self.changes
        )
        return like.specs()


class Reduced(nn.Module):
    """Maps (B, C, H, W) brought to `side` x `side` places, fewer where they have fewer, and flattened: (B, dim)."""

    def __init__(self, shape: tuple[int, ...], form: Form, numbers: int) -> None:
        super().__init__()
        channels, *places = shape
        side = max(1, int((numbers / channels) ** 0.5 + 1e-9))
        self.form, self.size = form, [min(side, place) for place in places]
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.dim = channels * self.size[0] * self.size[1]

    def forward(self, maps: Tensor) -> Tensor:
        """Return the numbers of the maps, normalised."""
        smaller = maps.contiguous()
        if list(maps.shape[2:]) != self.size:
            if self.form == "bilinear":
                smaller = interpolate(smaller, self.size, mode="bilinear")
            else:
                smaller = avg_pool2d(smaller, *windows(maps.shape[2:], self.size))
        return cast(Tensor, self.norm(smaller)).flatten(1)


def windows(places: tuple[int, ...], size: list[int]) -> tuple[list[int], list[int]]:
    """Return kernel and stride of the means that bring maps of (H, W) places to a size, and cover all of them."""
    stride = [max(1, place // side - 1) for place, side in zip(places, size, strict=True)]
    kernel = [place - (side - 1) * step for place, side, step in zip(places, size, stride, strict=True)]
    return kernel, stride


class Probes(nn.ModuleDict):
    """Stage -> its reduction and linear layer; `dim` numbers in all."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], classes: int, form: Form, numbers: int) -> None:
        super().__init__()
        for stage, shape in shapes.items():
            reduced = Reduced(shape, form, numbers)
            self[stage] = nn.Sequential(reduced, nn.Linear(reduced.dim, classes))
        self.dim = len(shapes) * classes

    def scores(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return stage -> scores of the classes (B, classes)."""
        return {stage: probe(_flat(maps[stage])) for stage, probe in self.items()}


class StageProbes(Method):
    """The probes are the view's projector: a kept model's projected space holds the scores, stage after stage."""

    about = About(
        slug="stage-probes",
        title="Linear classifiers on all stages of a frozen encoder, learnt at once",
        paper="Zhang, Isola & Efros, Split-brain autoencoders, CVPR 2017; arXiv 1611.09842",
        family="protocol",
        state="working: dimensions as published; the published accuracies need ImageNet",
    )
    Settings = StageProbesSettings
    settings: StageProbesSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.01, weight_decay=5e-4),
        schedule=ScheduleSettings(milestones=(2 / 7, 4 / 7, 6 / 7), gamma=0.1),
        augment=replace(PRESETS["none"], crop_area=(_AREA, _AREA), crop_ratio=(1.0, 1.0), flip=0.5),
        batch_size=256,
        epochs=28,
    )
    labelled = True
    least_classes = 2
    coupling: Coupling = "none"

    def __init__(self, settings: StageProbesSettings, facts: Facts) -> None:
        from coview.methods import build

        super().__init__(settings, facts)
        base = build(settings.base, settings.base_settings, replace(facts, training=False))
        self.view = settings.view
        if self.view not in base.encoders:
            raise UsageError(f"{settings.base} has no encoder of {self.view!r}; it has {', '.join(base.encoders)}")
        encoder = cast(Encoder, base.encoders[self.view])
        if settings.absorbed:
            absorb_batchnorm(encoder)
        encoder.requires_grad_(False).eval()
        known = encoder.stages
        if unknown := [stage for stage in settings.stages if stage not in known]:
            raise UsageError(f"{settings.base} has no stage {', '.join(unknown)}; it has {', '.join(known)}")
        self.encoders = nn.ModuleDict({self.view: encoder})
        with torch.no_grad():
            maps = encoder.feature_maps(next(encoder.parameters()).new_zeros(1, *self.views[self.view].shape))
        shapes = {stage: tuple(_flat(maps[stage]).shape[1:]) for stage in settings.stages or known}
        probes = Probes(shapes, facts.classes, settings.form, settings.numbers)
        self.projectors = nn.ModuleDict({self.view: probes})

    @property
    def encoder(self) -> Encoder:
        """The frozen network."""
        return cast(Encoder, self.encoders[self.view])

    @property
    def probes(self) -> Probes:
        """What learns."""
        return cast(Probes, self.projectors[self.view])

    def train(self, mode: bool = True) -> StageProbes:
        """Set the mode of the probes; the encoder keeps that of evaluation."""
        super().train(mode)
        self.encoder.eval()
        return self

    def scores(self, x: Tensor) -> dict[str, Tensor]:
        """Return stage -> scores of the classes (B, classes) of model views."""
        with torch.no_grad():
            maps = self.encoder.feature_maps(x)
        return self.probes.scores(maps)

    def learn(self, batch: Batch) -> Step:
        """Return the sum of the probes' losses; parts: accuracy_<stage>."""
        losses, parts = [], {}
        for stage, logits in self.scores(batch.views[self.view]).items():
            losses.append(in_float32(cross_entropy)(logits, batch.label, reduction="none"))
            right = (logits.detach().argmax(1) == batch.label).to(losses[-1])
            parts[f"accuracy_{stage}"] = mean_over_world(right)
        return Step(mean_over_world(torch.stack(losses).sum(0)), parts)

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`: the scores of all stages, or the encoder's own features."""
        x = batch.views[self.view]
        if space == "backbone":
            return {self.view: self.encoder(x)}
        return {self.view: torch.cat(list(self.scores(x).values()), dim=1)}

    def lr_scale(self, name: str) -> float:
        """See `Method.lr_scale`: biases learn twice as fast."""
        return 2.0 if name.endswith(".bias") else 1.0


def _flat(maps: Tensor) -> Tensor:
    """Return maps (B, C, H, W), of clips the mean over time."""
    return maps.mean(2) if maps.ndim == 5 else maps
