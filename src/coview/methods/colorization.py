"""Colorization: from a picture's lightness the distribution of the colour of every place, among 313 bins.

Zhang, Isola & Efros, "Colorful image colorization", ECCV 2016 (arXiv 1603.08511), equations 1 to 5. With Z the soft
label of a place, z what the network says, and p the smoothed share of the bins among the collection's colours,

    loss = - mean_hw v sum_q Z_q log z_q,    v = w[argmax Z],    w_q = 1 / ((1 - mixed) p_q + mixed / 313) / E_p[w],

or half the squared error of a and b (`form`), the paper's baseline, which answers grey where several colours are
likely. The paper sums over places. p is counted in the first pictures of the first epoch. Pictures are painted in the
annealed mean of z. Targets are sampled with `stride`, not averaged, and what is said is brought to their size.

Where paper and released code differ (`as_released`): labels of 10 bins, not 5; the reported loss is without v, which
acts on the gradient alone. The code's w is infinite for bins that never occur; the paper's formula is kept. Its later
PyTorch models paint with temperature 1. The eighth block has batch normalisation here, and has none there.

The AlexNet of the paper's features: encoder alexnet, head ((4096, 6), (4096, 1)), doublings 0, stride 8, 180 pixels,
batch 80. Recipe: Adam at 3e-5, a tenth of it after every half of 450,000 steps, decay 1e-3, batch 40.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Self, cast

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.augment import AugmentSettings
from coview.data.views import Batch, ImageView, ViewSpec
from coview.encoders import Encoder, build_image
from coview.encoders.decoders import Placewise
from coview.methods.contract import About, Coupling, Facts, Step
from coview.methods.parts.batch import complete
from coview.methods.parts.colour import (
    TINY_PICTURE,
    TRUE_COLOURS,
    ColourMethod,
    as_colours,
    at_places,
    lightness_and_colour,
)
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.colour import COLOUR_RANGE
from coview.objectives.colour_bins import (
    COUNT,
    colour_bins,
    colour_loss,
    colourful,
    rarity,
    smoothed_prior,
    soft_labels,
)
from coview.objectives.denoising import squared
from coview.parallel import mean_over_world, row_counts, sum_with_grad


@dataclass(frozen=True, kw_only=True)
class ColorizationSettings:
    """The picture, the networks, and how colours are labelled, weighted and decoded."""

    image: ImageView = field(
        default_factory=lambda: ImageView(size=176, normalise="none", area=(0.3, 1.0), augment=TRUE_COLOURS)
    )
    encoder: str = "vgg-dilated"  # network of the lightness
    head: tuple[tuple[int, int], ...] = ((256, 3), (256, 3))  # channels and kernel of the layers before the last
    doublings: int = 1  # of the encoder's last map, before these layers
    stride: int = 4  # pixels from one target to the next
    form: Literal["classification", "regression"] = "classification"  # predict classes of colour, or the colour
    neighbours: int | None = None  # bins of a soft label; None: 5, or 10 as released
    width: float = 5.0  # standard deviation of a soft label, in units of a and b
    mixed: float = 0.5  # share of the uniform distribution in the prior; 1: no colour weighs more than another
    prior_pictures: int = 10_000  # in which the colours are counted
    temperature: float = 0.38  # of the annealed mean, from mean (1) to mode (0)
    as_released: bool = False  # where paper and released code differ, as the code

    def __post_init__(self) -> None:
        if not 0 < self.mixed <= 1:
            raise ValueError(
                "mixed is a share above 0, up to 1: at 0 a colour that never occurs weighs infinitely much"
            )
        if min(self.width, self.temperature) <= 0:
            raise ValueError("width and temperature must be above 0")
        if self.doublings < 0 or min(self.stride, self.prior_pictures) < 1:
            raise ValueError("stride and prior_pictures must be at least 1, and doublings not below 0")
        if self.neighbours is not None and not 1 <= self.neighbours <= COUNT:
            raise ValueError(f"neighbours are 1 to {COUNT} bins")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers."""
        return cls(image=TINY_PICTURE, encoder="image-tiny", head=((64, 3),))

    def specs(self) -> dict[str, ViewSpec]:
        """Return lightness, and the colour of the same crop."""
        return lightness_and_colour(self.image)


class Colorization(ColourMethod):
    """An encoder of lightness, and a network from its maps to the colour of every place."""

    about = About(
        slug="colorization",
        title="Colorful image colorization: lightness says which of 313 colours a place has",
        paper="Zhang, Isola & Efros, ECCV 2016; arXiv 1603.08511",
        family="prediction",
        state="verified: labels, weights, loss, gradient and decoding equal independent values",
    )
    Settings = ColorizationSettings
    settings: ColorizationSettings
    coupling: Coupling = "none"
    published = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=3e-5, weight_decay=1e-3, betas=(0.9, 0.99)),
        schedule=ScheduleSettings(kind="multistep", milestones=(0.5,), gamma=0.1),
        augment=AugmentSettings(jitter=0.0),
        batch_size=40,
    )
    small = Recipe(
        optimiser=OptimiserSettings(kind="adam", lr=1e-3, weight_decay=1e-5),
        schedule=ScheduleSettings(kind="cosine"),
        augment=AugmentSettings(jitter=0.0),
    )

    def __init__(self, settings: ColorizationSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.in_classes = settings.form == "classification"
        self.encoders["lightness"] = encoder = build_image(settings.encoder, 1)
        out = COUNT if self.in_classes else 2
        self.makers["colour"] = Placewise(encoder.dim, out, settings.head, settings.doublings)
        self.prior: Tensor
        self.register_buffer("prior", torch.full((COUNT,), 1 / COUNT))

    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """Count the bins' shares among the colours of the first pictures with colour, of all processes."""
        if not self.in_classes or self.settings.mixed == 1:
            return
        total, seen = torch.zeros_like(self.prior), 0
        for batch in samples:
            ab = complete(batch, self.views).views["colour"] * COLOUR_RANGE
            here = self.sampled(ab[colourful(ab)]).to(total)
            total += len(here) * smoothed_prior(here, self.bins, self.settings.width)
            seen += sum(row_counts(batch.row))
            if seen >= self.settings.prior_pictures:
                break
        everywhere = sum_with_grad(total)
        if float(everywhere.sum()) > 0:
            self.prior.copy_(everywhere / everywhere.sum())

    @property
    def bins(self) -> Tensor:
        """The colours (313, 2), where the networks are."""
        return colour_bins().to(self.prior.device)

    def sampled(self, colour: Tensor) -> Tensor:
        """Return the target places (B h w, 2) of colours (B, 2, H, W): every `stride`-th pixel."""
        return at_places(colour[..., :: self.settings.stride, :: self.settings.stride])

    def said(self, lightness: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last map of lightness (B, 1, H, W), and what is said of every place (B, 313 or 2, h, w)."""
        encoder = cast(Encoder, self.encoders["lightness"])
        maps = encoder.feature_maps(lightness)[encoder.stages[-1]]
        return maps, self.makers["colour"](maps)

    def learn(self, batch: Batch) -> Step:
        """Return the loss; parts: cross_entropy, the same without weights; of regression none."""
        maps, said = self.said(batch.views["lightness"])
        colour, stride = batch.views["colour"], self.settings.stride
        size = [-(-side // stride) for side in colour.shape[2:]]
        if list(said.shape[2:]) != size:
            said = interpolate(said, size=size, mode="bilinear")
        costs, plain = self.costs(at_places(said), self.sampled(colour))
        means = [mean_over_world(each.view(len(colour), size[0] * size[1]).mean(1)) for each in (costs, plain)]
        features = {"lightness": cast(Encoder, self.encoders["lightness"]).pool(maps).detach()}
        loss = means[0] - (means[0] - means[1]).detach() if self.settings.as_released else means[0]
        return Step(loss, {"cross_entropy": means[1].detach()} if self.in_classes else {}, features)

    def costs(self, said: Tensor, colour: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cost of every place (N,) with and without its weight, of what is said (N, 313 or 2) of colours
        (N, 2), a and b divided by 110.
        """
        if not self.in_classes:
            cost = 0.5 * squared(colour, said)
            return cost, cost
        settings = self.settings
        neighbours = settings.neighbours or (10 if settings.as_released else 5)
        index, weight = soft_labels(colour * COLOUR_RANGE, self.bins, neighbours, settings.width)
        cost = colour_loss(said, index, weight)
        return rarity(self.prior, settings.mixed)[index[:, 0]] * cost, cost

    def coloured(self, batch: Batch) -> Tensor:
        """See `ColourMethod.coloured`."""
        return colourful(batch.views["colour"] * COLOUR_RANGE)

    def canvas(self) -> str:
        """See `Method.canvas`."""
        return "lightness"

    def sketch(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """See `Method.sketch`: colours (B, 2, h, w), the annealed mean of classes, or what is regressed."""
        _, said = self.said(x)
        return as_colours(said, self.settings.temperature) if self.in_classes else said
