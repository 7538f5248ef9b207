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

The paper's other form, which learnt worse there, is one network F for both halves (`shared`, a weight). It sees X1, X2
or all of X, each in channels of its own, with 0 in the rest, and says all of X:

    loss = shared cost(F(X1), X2) + shared cost(F(X2), X1) + (1 - 2 shared) cost(F(X), X),

1/3 in the paper; with 1/2 there is no autoencoder. "joint" are then F's features of all of X. The paper has a whole
AlexNet for it (`--method.encoder alexnet`). What F sees in a step is one batch for its normalisation: our choice.

Recipe: that of colorization [M]: Adam, decay 1e-3, batch 80, rates of 3e-5, 1e-5, 3e-6, 1e-6.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from coview.data.augment import AugmentSettings
from coview.data.views import Batch, DepthView, ImageView, ViewSpec
from coview.encoders import Encoder, build_image
from coview.encoders.composed import Amid
from coview.encoders.decoders import Placewise
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Step
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
from coview.methods.reading import Space
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.colour import COLOUR_RANGE, LIGHTNESS_RANGE, split
from coview.objectives.colour_bins import COUNT, colourful
from coview.objectives.cross_channel import CLASSES, NUMBERS, Aim
from coview.parallel import mean_over_world

_NEAREST = 0.1  # metres; nothing is nearer than this to a camera


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
    shared: float | None = None  # one network for both halves: the weight of either one's loss, 1/3 in the paper
    colour_weight: float = 200 / LIGHTNESS_RANGE[1] ** 2  # rgb-d; the paper's 200, of a lightness in units of L
    temperature: float = 0.38  # of the colours that are painted

    def __post_init__(self) -> None:
        if self.colour_weight < 0 or self.temperature <= 0:
            raise ValueError("colour_weight must not be below 0, and temperature must be above 0")
        if self.shared is not None and (not 0 <= self.shared <= 0.5 or self.halves != "both"):
            raise ValueError("shared is a weight from 0 to 1/2, for both halves: what is left of 1 is an autoencoder")

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
        pairs = {"first": {first: [second]}, "second": {second: [first]}}
        # What is said from which sight: of which views.
        self.says = pairs.get(settings.halves, {first: [second], second: [first]})
        if settings.shared is not None:
            self._share(first, second)
            return
        for name, (other,) in self.says.items():
            self.encoders[name] = encoder = build_image(settings.encoder, self.views[name].shape[0])
            heads = {aim: Placewise(encoder.dim, what.width, settings.head) for aim, what in self.aims(other).items()}
            self.makers[name] = nn.ModuleDict(heads)

    def _share(self, first: str, second: str) -> None:
        here, there = (self.views[name].shape[0] for name in (first, second))
        whole = build_image(self.settings.encoder, here + there)
        self.encoders[first], self.encoders[second] = Amid(whole, 0, there), Amid(whole, here, 0)
        width = sum(aim.width for aim in self.everything().values())
        self.makers["joint"] = Placewise(whole.dim, width, self.settings.head)
        if self.settings.shared != 0.5:
            self.says["joint"] = [first, second]

    def everything(self) -> dict[str, Aim]:
        """Return what one network for both halves says, in this order."""
        return {what: aim for name in self.views for what, aim in self.aims(name).items()}

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
        """Return the weighted sum of the losses of all sights; parts: each one's, under the name of what is seen."""
        share = self.settings.shared
        weights: dict[str, float] = {} if share is None else dict.fromkeys(self.views, share) | {"joint": 1 - 2 * share}
        losses, features = {}, {}
        for name, (maps, said) in self.look(batch.views).items():
            costs = [
                aim.weight * self.cost(aim, said[what], self.truth(other, batch.views[other])[what])
                for other in self.says[name]
                for what, aim in self.aims(other).items()
            ]
            losses[name] = mean_over_world(torch.stack(costs).sum(0))
            if name in self.encoders:
                features[name] = cast(Encoder, self.encoders[name]).pool(maps)
        total = torch.stack([weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()
        return Step(total, detached(losses), detached(features))

    def look(self, views: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
        """Return, by what is seen of views (B, C, H, W), the last maps, and what is said at their places, by aim."""
        if self.settings.shared is None:
            return {name: self.look_at(name, views[name]) for name in self.says}
        seen = [cast(Amid, self.encoders[name]).among(views[name]) for name in self.views]
        if "joint" in self.says:
            seen.append(torch.stack(seen).sum(0))
        maps, said = self.look_through(torch.cat(seen))
        parts = {what: each.chunk(len(seen)) for what, each in said.items()}
        return {
            name: (each, {what: part[at] for what, part in parts.items()})
            for at, (name, each) in enumerate(zip(self.says, maps.chunk(len(seen)), strict=True))
        }

    def look_at(self, name: str, view: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the last maps of one view (B, C, H, W), and what is said at their places, by aim."""
        encoder = cast(Encoder, self.encoders[name])
        if isinstance(encoder, Amid):
            return self.look_through(encoder.among(view))
        maps = encoder.feature_maps(view)[encoder.stages[-1]]
        return maps, {what: head(maps) for what, head in cast(nn.ModuleDict, self.makers[name]).items()}

    def look_through(self, seen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the same of what one network for both halves sees, both views' channels."""
        whole = self.whole()
        maps = whole.feature_maps(seen)[whole.stages[-1]]
        aims = self.everything()
        parts = torch.split(self.makers["joint"](maps), [aim.width for aim in aims.values()], dim=1)
        return maps, dict(zip(aims, parts, strict=True))

    def whole(self) -> Encoder:
        """Return the network that both halves share."""
        return cast(Amid, next(iter(self.encoders.values()))).whole

    @staticmethod
    def cost(aim: Aim, said: Tensor, true: Tensor) -> Tensor:
        """Return the mean cost over the places of every sample (B,), at the size of what was said."""
        at = at_places(interpolate(true, size=said.shape[2:], mode="nearest"))
        return aim.cost(at_places(said), at).view(len(said), said.shape[2] * said.shape[3]).mean(1)

    def embed(self, batch: Batch, space: Space = "projected") -> dict[str, Tensor]:
        """See `Method.embed`; "joint" are the features of both halves, the representation."""
        found = super().embed(batch, space)
        if not len(self.encoders) == len(self.views) == len(found):
            return found
        there = torch.stack([batch.present[name] for name in self.views]).all(0)
        if self.settings.shared is None:
            features = torch.cat(list(found.values()), 1)[there]
        else:
            features = self.whole()(torch.cat([batch.views[name][there] for name in self.views], 1))
        found["joint"] = features.new_zeros(len(batch), features.shape[1])
        found["joint"][there] = features
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
        said = self.look_at("lightness", x)[1]["colour"]
        return as_colours(said, self.settings.temperature) if said.shape[1] == COUNT else said
