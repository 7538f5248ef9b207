"""Split-brain autoencoder: two halves of a network, each of which predicts what only the other one sees.

Zhang, Isola & Efros, "Split-brain autoencoders", CVPR 2017 (arXiv 1611.09842). A picture is split into lightness X1 and
colour X2, or RGB and depth; with maps of k x k places,

    loss = mean_hw cost(F1(X1), X2) + mean_hw cost(F2(X2), X1),

where cost is the cross-entropy of one class of 313 colours or 50 lightnesses without any weights, or half the squared
error (`form`). No gradient crosses: the halves share nothing, and their features are used together ("joint"). The
paper sums over places. "Downsampled" targets are sampled at the maps' places here, as the authors' earlier code does.

From depth, lightness is predicted by squared error and colour by classes, each through layers of its own. The paper's
depth is HHA (`--method.depth.form hha`, which needs the camera's focal length): that in, and that out. By default it is
depth in metres in, disparity (1/metre) out. Where depth is unknown there is no error.
Clipping the whole gradient's norm would couple the halves: leave it off.

Recipe: that of colorization [M]: Adam, decay 1e-3, batch 80, rates of 3e-5, 1e-5, 3e-6, 1e-6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from coview.data.augment import AugmentSettings
from coview.data.views import Batch, DepthView, ImageView, ViewSpec
from coview.encoders import Encoder, build_image
from coview.encoders.decoders import Placewise
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Space, Step
from coview.methods.parts.batch import detached
from coview.methods.parts.colour import (
    TINY_PICTURE,
    TRUE_COLOURS,
    ColourMethod,
    as_colours,
    at_places,
    have_colour,
    lightness_and_colour,
)
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.colour import COLOUR_RANGE, LIGHTNESS_RANGE, split
from coview.objectives.colour_bins import COUNT, colour_bins, colour_loss, colourful, lightness_bins, soft_labels
from coview.objectives.denoising import squared
from coview.parallel import mean_over_world

_NEAREST = 0.1  # metres; nothing is nearer than this to a camera


@dataclass(frozen=True)
class Aim:
    """What is said of every place of a view, in `width` numbers, and the cost (N,) of these (N, width) beside what is
    true (N, C).
    """

    width: int
    cost: Callable[[Tensor, Tensor], Tensor]
    weight: float = 1.0


def lightness_cost(scores: Tensor, lightness: Tensor) -> Tensor:
    """Return the cross-entropy of the class of lightness, (N, 1) in -1..1."""
    middle, half = LIGHTNESS_RANGE
    index = lightness_bins(lightness * half + middle, scores.shape[1])
    return colour_loss(scores, index, torch.ones_like(index, dtype=scores.dtype))


def colour_cost(scores: Tensor, colour: Tensor) -> Tensor:
    """Return the cross-entropy of the nearest bin of colours (N, 2), a and b divided by 110."""
    bins = colour_bins().to(colour.device)
    return colour_loss(scores, *soft_labels(colour * COLOUR_RANGE, bins, neighbours=1))


def half_squared(made: Tensor, true: Tensor) -> Tensor:
    """Return half the squared error."""
    return 0.5 * squared(true, made)


def known_half_squared(made: Tensor, true: Tensor) -> Tensor:
    """Return half the squared error, 0 where nothing is known: where the first of the true values, disparity, is 0."""
    return half_squared(torch.where(true[:, :1] > 0, made, 0.0), true)


NUMBERS = {
    "lightness": Aim(1, half_squared),
    "colour": Aim(2, half_squared),
    "disparity": Aim(1, known_half_squared),
    "hha": Aim(3, known_half_squared),
}
CLASSES = {"lightness": Aim(50, lightness_cost), "colour": Aim(COUNT, colour_cost)}


@dataclass(frozen=True, kw_only=True)
class SplitBrainSettings:
    """Which halves, their networks, and how they are judged."""

    pair: Literal["lab", "rgb-d"] = "lab"  # lightness and colour, or colour and depth
    image: ImageView = field(
        default_factory=lambda: ImageView(size=180, normalise="none", area=(0.3, 1.0), augment=TRUE_COLOURS)
    )
    depth: DepthView = field(default_factory=lambda: DepthView(size=180, normalise="none"))
    encoder: str = "alexnet-half"  # network of each half
    head: tuple[tuple[int, int], ...] = ((2048, 6), (2048, 1))  # channels and kernel of the layers before the last
    form: Literal["classification", "regression"] = "classification"  # predict classes of values, or the values
    halves: Literal["both", "first", "second"] = "both"  # one alone is a cross-channel encoder
    colour_weight: float = 200 / LIGHTNESS_RANGE[1] ** 2  # rgb-d; the paper's 200, of a lightness in units of L
    temperature: float = 0.38  # of the colours that are painted

    def __post_init__(self) -> None:
        if self.colour_weight < 0 or self.temperature <= 0:
            raise ValueError("colour_weight must not be below 0, and temperature must be above 0")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers."""
        return cls(
            image=TINY_PICTURE,
            depth=DepthView(size=32, margin=1.0, normalise="none"),
            encoder="image-tiny",
            head=((64, 3),),
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the two views, aligned: one crop of one picture."""
        if self.pair == "rgb-d":
            depth = dataclasses.replace(self.depth, size=self.image.size, margin=self.image.margin, with_="image")
            return {"image": self.image, "depth": depth}
        return lightness_and_colour(self.image)


class SplitBrain(ColourMethod):
    """Two encoders, and of each a predictor of what the other one sees."""

    about = About(
        slug="split-brain",
        title="Split-brain autoencoder: lightness and colour, or picture and depth, predict each other",
        paper="Zhang, Isola & Efros, CVPR 2017; arXiv 1611.09842",
        family="prediction",
        state="verified: classes, losses and sizes equal independent values; no official training code exists",
    )
    Settings = SplitBrainSettings
    settings: SplitBrainSettings
    coupling: Coupling = "none"
    published = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=3e-5, weight_decay=1e-3),
        schedule=ScheduleSettings(kind="multistep", milestones=(0.533, 0.667, 0.889), gamma=0.316),
        augment=AugmentSettings(jitter=0.0),
        batch_size=80,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=1e-3, weight_decay=1e-5),
        schedule=ScheduleSettings(kind="cosine"),
        augment=AugmentSettings(jitter=0.0),
    )

    def __init__(self, settings: SplitBrainSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        first, second = self.views
        pairs = {"first": {first: second}, "second": {second: first}}
        self.other = pairs.get(settings.halves, {first: second, second: first})
        for name, other in self.other.items():
            self.encoders[name] = encoder = build_image(settings.encoder, self.views[name].shape[0])
            heads = {aim: Placewise(encoder.dim, what.width, settings.head) for aim, what in self.aims(other).items()}
            self.makers[name] = nn.ModuleDict(heads)

    def aims(self, name: str) -> dict[str, Aim]:
        """Return what is said of a view by the half that does not see it."""
        known = NUMBERS | (CLASSES if self.settings.form == "classification" else {})
        if name == "depth":
            what = "hha" if self.settings.depth.form == "hha" else "disparity"
            return {what: known[what]}
        if name == "image":
            weight = self.settings.colour_weight if self.settings.form == "classification" else 1.0
            return {"lightness": NUMBERS["lightness"], "colour": dataclasses.replace(known["colour"], weight=weight)}
        return {name: known[name]}

    def truth(self, name: str, view: Tensor) -> dict[str, Tensor]:
        """Return what is to be said of a view (B, C, H, W), by aim."""
        if name == "depth":
            # A crop mixes known with unknown depth where they meet.
            known = max_pool2d((view[:, :1] <= 0).float(), 5, 1, 2) == 0
            if self.settings.depth.form == "hha":
                return {"hha": torch.where(known, view, 0.0)}
            return {"disparity": torch.where(known, 1 / view.clamp(min=_NEAREST), 0.0)}
        if name == "image":
            return {"lightness": split(view, "lightness"), "colour": split(view, "colour")}
        return {name: view}

    def learn(self, batch: Batch) -> Step:
        """Return the sum of the halves' losses; parts: each half's, under the name of the view that it sees."""
        losses, features = {}, {}
        for name, other in self.other.items():
            encoder = cast(Encoder, self.encoders[name])
            maps = encoder.feature_maps(batch.views[name])[encoder.stages[-1]]
            costs = [
                aim.weight * self.cost(aim, self.maker(name, what)(maps), self.truth(other, batch.views[other])[what])
                for what, aim in self.aims(other).items()
            ]
            losses[name] = mean_over_world(torch.stack(costs).sum(0))
            features[name] = encoder.pool(maps)
        return Step(torch.stack(list(losses.values())).sum(), detached(losses), detached(features))

    def maker(self, name: str, what: str) -> nn.Module:
        """Return the head that says `what` of the other half, from the view `name`."""
        return cast(nn.ModuleDict, self.makers[name])[what]

    @staticmethod
    def cost(aim: Aim, said: Tensor, true: Tensor) -> Tensor:
        """Return the mean cost over the places of every sample (B,), at the size of what was said."""
        at = at_places(interpolate(true, size=said.shape[2:], mode="nearest"))
        return aim.cost(at_places(said), at).view(len(said), said.shape[2] * said.shape[3]).mean(1)

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`; "joint" are the features of both halves beside each other, the representation."""
        found = super().embed(batch, space)
        if len(self.encoders) == len(self.views) == len(found):
            there = torch.stack([batch.present[name] for name in found]).all(0)
            found["joint"] = torch.where(there[:, None], torch.cat(list(found.values()), 1), 0.0)
        return found

    def coloured(self, batch: Batch) -> Tensor:
        """See `ColourMethod.coloured`."""
        views = batch.views
        return colourful(views["colour"] * COLOUR_RANGE) if "colour" in views else have_colour(views["image"])

    def canvas(self) -> str:
        """See `Method.canvas`: the half that sees lightness paints."""
        if "lightness" not in self.encoders:
            raise UsageError("only a split-brain of lightness and colour paints, by its half that sees lightness")
        return "lightness"

    def sketch(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """See `Method.sketch`: colours (B, 2, h, w), the annealed mean of classes, or what is regressed."""
        encoder = cast(Encoder, self.encoders["lightness"])
        said: Tensor = self.maker("lightness", "colour")(encoder.feature_maps(x)[encoder.stages[-1]])
        return as_colours(said, self.settings.temperature) if said.shape[1] == COUNT else said
