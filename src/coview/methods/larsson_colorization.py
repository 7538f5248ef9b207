"""Colorization by hypercolumns: at sampled places, all layers together say the histograms of hue and chroma.

Larsson, Maire & Shakhnarovich, "Learning representations for automatic colorization", ECCV 2016 (arXiv 1603.06668), and
"Colorization as a proxy task", CVPR 2017 (arXiv 1703.04044). From the mean of red, green and blue,

    loss = mean over sampled places of  KL(y_C || f_C) + hue_weight c KL(y_H || f_H),

y the empirical histograms of chroma and hue in a window around the place, c the chroma of the place itself: a grey
place says nothing about hue. Pictures are painted in the median chroma and the mean direction of hue, and fade to grey
where hues disagree; their mean of red, green and blue stays. Histograms, not colours, are brought to full size. The
paper's other forms see L of CIELAB and say a and b: 32 bins of each, at the quantiles of a normal distribution, 16 x 16
bins of both, or the numbers; they are painted in the expectation.

Where paper and released configuration differ (`as_released`): windows of 7 pixels, not 1; places no nearer to the edge
than 96 of 352 pixels; the chroma term weighs 3 min(L, 1/3, 1 - L); the median is the middle of its bin, never 0. The
paper's start from ImageNet's labels is absent. The recipe is the released one: SGD at 1e-3, a
tenth of it after 1.0, 1.5 and 1.75 of 2 million steps, decay 5e-4, batch 8; its biases learn at the double rate.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor, nn

from coview.data.augment import AugmentSettings
from coview.data.views import Batch, ImageView, ViewSpec
from coview.encoders import Encoder, Head, build_image
from coview.encoders.hypercolumns import channels_of, hypercolumns
from coview.methods.contract import About, Coupling, Facts, Step
from coview.methods.parts.colour import TINY_PICTURE, TRUE_COLOURS, ColourMethod, have_colour
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.colour import COLOUR_RANGE, split
from coview.objectives.denoising import squared
from coview.objectives.hue_chroma import (
    BINS,
    ChromaRule,
    HueRule,
    colour_of,
    decode_chroma,
    decode_hue,
    divergence,
    gaussian_edges,
    gaussian_middles,
    histograms,
    hue_chroma_loss,
    reachable_chroma,
    to_bins,
    to_hue_chroma,
    windows,
    with_lightness,
)
from coview.parallel import mean_over_world
from coview.randomness import integers

_SAID = {"hue-chroma": (2, BINS), "lab": (2, BINS), "lab-joint": (1, 256), "lab-l2": (2, 1)}  # distributions, bins
_PLACES = 7310  # stream of a sample's key: where the picture is looked at
_STEP = 4  # pixels of a painted place
_AT_ONCE = 2048  # places whose hypercolumns are held together when a picture is painted


@dataclass(frozen=True, kw_only=True)
class LarssonSettings:
    """The picture, the networks, where it is looked at, and how histograms become colours."""

    image: ImageView = field(
        default_factory=lambda: ImageView(size=352, normalise="none", area=(0.3, 1.0), augment=TRUE_COLOURS)
    )
    encoder: str = "vgg-16"  # network of the lightness
    # What is said of a place: histograms of hue and chroma, of a and b, of both of these together, or a and b.
    form: Literal["hue-chroma", "lab", "lab-joint", "lab-l2"] = "hue-chroma"
    hidden: int = 1024  # width of the layer behind the hypercolumns
    dropout: float = 0.5  # of the hidden layer
    samples: int = 128  # places of a picture
    edge: int | None = None  # pixels at the border without places; None: 0, or as released 3/11 of the side
    window: int | None = None  # side in pixels; None: 1, or 7 as released
    hue_weight: float = 5.0  # about 1 / mean chroma
    chroma_rule: ChromaRule | None = None  # None: interpolated-median, or median as released
    hue_rule: HueRule = "fading"  # how a hue is read from its histogram
    as_released: bool = False  # where paper and released configuration differ, as the latter

    def __post_init__(self) -> None:
        if min(self.hidden, self.samples) < 1 or not 0 <= self.dropout < 1 or self.hue_weight < 0:
            raise ValueError("hidden and samples must be at least 1, dropout in [0, 1), hue_weight not below 0")
        if self.window is not None and (self.window < 1 or self.window % 2 == 0):
            raise ValueError("window is an odd number of pixels, such as 1 or 7")
        if self.edge is not None and not 0 <= 2 * self.edge < self.image.size:
            raise ValueError("edge must leave a part of the picture: 0 <= 2 edge < size")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers."""
        return cls(image=TINY_PICTURE, encoder="image-tiny", hidden=64, dropout=0.0, samples=32)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the picture without its colour, as the form has it, and the same crop in colour."""
        grey = dataclasses.replace(self.image, space="intensity" if self.form == "hue-chroma" else "lightness")
        return {"grey": grey, "picture": dataclasses.replace(self.image, with_="grey", area=None)}


class LarssonColorization(ColourMethod):
    """An encoder of grey pictures, and a layer from its hypercolumns to two histograms."""

    about = About(
        slug="larsson-colorization",
        title="Colorization by hypercolumns: histograms of hue and chroma at sampled places",
        paper="Larsson, Maire & Shakhnarovich, ECCV 2016; arXiv 1603.06668",
        family="prediction",
        state="verified: histograms, loss and decoders equal the authors' and independent values",
    )
    Settings = LarssonSettings
    settings: LarssonSettings
    coupling: Coupling = "none"
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4),
        schedule=ScheduleSettings(kind="multistep", milestones=(0.5, 0.75, 0.875), gamma=0.1),
        augment=AugmentSettings(jitter=0.0),
        batch_size=8,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=1e-3, weight_decay=1e-5),
        schedule=ScheduleSettings(kind="cosine"),
        augment=AugmentSettings(jitter=0.0),
    )

    def __init__(self, settings: LarssonSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders["grey"] = encoder = build_image(settings.encoder, 1)
        hidden = nn.Linear(1 + channels_of(encoder, 1), settings.hidden)
        out = math.prod(_SAID[settings.form])
        layers = (hidden, nn.ReLU(), nn.Dropout(settings.dropout), nn.Linear(settings.hidden, out))
        self.makers["histograms"] = Head(out, *layers)

    def lr_scale(self, name: str) -> float:
        """See `Method.lr_scale`: biases learn at the double rate, as in the released configuration."""
        return 2.0 if name.endswith(".bias") else 1.0

    def places(self, key: Tensor, size: int) -> Tensor:
        """Return where pictures of `size` pixels are looked at, int64 (B, samples, 2), drawn from their keys (B,)."""
        settings = self.settings
        edge = (size * 3 // 11 if settings.as_released else 0) if settings.edge is None else settings.edge
        return edge + integers(key, _PLACES, size - 2 * edge, settings.samples, 2)

    def learn(self, batch: Batch) -> Step:
        """Return the loss."""
        grey, picture = batch.views["grey"], batch.views["picture"]
        places = self.places(batch.key, grey.shape[-1])
        maps = self.maps(grey)
        cost = self.cost(self.said([grey, *maps.values()], places, grey.shape[2]), picture.clamp(0, 1), places)
        encoder = cast(Encoder, self.encoders["grey"])
        features = {"grey": encoder.pool(maps[encoder.stages[-1]]).detach()}
        return Step(mean_over_world(cost.mean(1)), {}, features)

    def maps(self, grey: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps of grey pictures (B, 1, H, W)."""
        return cast(Encoder, self.encoders["grey"]).feature_maps(grey)

    def said(self, maps: list[Tensor], places: Tensor, side: int) -> Tensor:
        """Return the scores (B, P, K) at places (B, P, 2) of pictures with `side` rows."""
        made: Tensor = self.makers["histograms"](hypercolumns(maps, places, side))
        return made

    def cost(self, said: Tensor, picture: Tensor, places: Tensor) -> Tensor:
        """Return the cost (B, P) of scores (B, P, K) at places of pictures in colour (B, 3, H, W)."""
        settings = self.settings
        around, inside = windows(picture, places, settings.window or (7 if settings.as_released else 1))
        by_form = self.hue_chroma_cost if settings.form == "hue-chroma" else self.lab_cost
        return by_form(said.flatten(0, 1), around.flatten(0, 1), inside.flatten(0, 1)).view(places.shape[:2])

    def hue_chroma_cost(self, said: Tensor, around: Tensor, inside: Tensor) -> Tensor:
        """Return the cost (N,) of scores (N, 64) of windows (N, M, 3), of which `inside` (N, M) counts."""
        hues, chromas, _ = to_hue_chroma(around)
        middle = around.shape[1] // 2
        targets = [histograms(to_bins(each), inside).to(around.dtype) for each in (hues, chromas)]
        weight = reachable_chroma(around[:, middle].mean(-1)) if self.settings.as_released else None
        hue, chroma = said.chunk(2, dim=1)
        return hue_chroma_loss(
            hue, chroma, targets[0], targets[1], chromas[:, middle], self.settings.hue_weight, weight
        )

    def lab_cost(self, said: Tensor, around: Tensor, inside: Tensor) -> Tensor:
        """Return the cost (N,) of what is said (N, 2 or K) of a and b in windows, as above."""
        colour = split(around.movedim(-1, 1), "colour")
        if self.settings.form == "lab-l2":
            return 0.5 * squared(colour[:, :, around.shape[1] // 2], said)
        number, bins = _SAID[self.settings.form]
        side = bins if number == 2 else math.isqrt(bins)
        index = torch.bucketize(colour * COLOUR_RANGE, gaussian_edges(side).to(colour))
        parts = index.unbind(1) if number == 2 else [index[:, 0] * side + index[:, 1]]
        targets = [histograms(part, inside, bins).to(colour.dtype) for part in parts]
        scores = said.chunk(number, dim=1)
        return torch.stack([divergence(*each) for each in zip(targets, scores, strict=True)]).sum(0)

    def coloured(self, batch: Batch) -> Tensor:
        """See `ColourMethod.coloured`."""
        return have_colour(batch.views["picture"])

    def canvas(self) -> str:
        """See `Method.canvas`."""
        return "grey"

    def sketch(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """See `Method.sketch`: histograms (B, 64, h, w) of hue and chroma, or the expected a and b divided by 110."""
        shares = self.shares(x)
        return shares if self.settings.form == "hue-chroma" else self.expected(shares)

    def render(self, grey: Tensor, sketch: Tensor) -> Tensor:
        """See `Method.render`; of hue and chroma, the mean of red, green and blue stays where no colour is cut off."""
        settings = self.settings
        if settings.form != "hue-chroma":
            return super().render(grey, sketch)
        chroma_rule = settings.chroma_rule or ("median" if settings.as_released else "interpolated-median")
        hue, chroma = sketch.movedim(1, -1).chunk(2, dim=-1)
        direction, factor = decode_hue(hue, settings.hue_rule)
        lightness = grey.mean(1)
        colours = colour_of(lightness, direction, factor * decode_chroma(chroma, chroma_rule))
        return with_lightness(colours, lightness).movedim(-1, 1)

    def expected(self, shares: Tensor) -> Tensor:
        """Return colours (B, 2, h, w), a and b divided by 110, of what `shares` says: of bins, the expectation."""
        number, bins = _SAID[self.settings.form]
        if bins == 1:
            return shares
        side = bins if number == 2 else math.isqrt(bins)
        middles = gaussian_middles(side).to(shares) / COLOUR_RANGE
        apart = torch.unflatten(shares, 1, (2 if number == 2 else side, side))
        both = apart if number == 2 else _marginals(apart)
        return torch.einsum("bkshw,s->bkhw", both, middles)

    def shares(self, grey: Tensor) -> Tensor:
        """Return histograms, or what is regressed, (B, K, H / 4, W / 4), at the middles of equal places of grey
        (B, 1, H, W).
        """
        maps, (height, width) = [grey, *self.maps(grey).values()], grey.shape[-2:]
        rows, columns = (_middles(side, grey.device) for side in (height, width))
        parts = torch.split(_grid(rows, columns, len(grey)), _AT_ONCE, dim=1)
        said = torch.cat([self.said(maps, part, height) for part in parts], dim=1)
        number, bins = _SAID[self.settings.form]
        shares = said if bins == 1 else torch.unflatten(said, 2, (number, bins)).softmax(-1).flatten(2)
        return shares.transpose(1, 2).reshape(len(grey), number * bins, len(rows), len(columns))


def _middles(side: int, device: torch.device) -> Tensor:
    """Return where the middles of places lie, about `_STEP` pixels each, that divide a side of pixels evenly."""
    count = -(-side // _STEP)
    return (torch.arange(count, device=device) + 0.5) * side / count - 0.5


def _marginals(shares: Tensor) -> Tensor:
    return torch.stack([shares.sum(2), shares.sum(1)], dim=1)


def _grid(rows: Tensor, columns: Tensor, count: int) -> Tensor:
    """Return every row with every column, for each of `count` pictures: (B, P, 2)."""
    pairs = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1)
    return pairs.expand(count, -1, -1)
