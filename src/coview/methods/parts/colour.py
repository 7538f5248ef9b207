"""What methods share that learn to colour: they learn from pictures that have colour, and paint grey ones."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.views import Batch, ImageView
from coview.methods.contract import Method, Step
from coview.methods.parts.batch import complete, enough
from coview.objectives.colour import COLOUR_RANGE, join, split
from coview.objectives.colour_bins import annealed_mean, colour_bins, colourful
from coview.parallel import mean_over_world

# A picture's colours are what is learnt: nothing may change them on the way.
TRUE_COLOURS = {"jitter": 0.0, "grey": 0.0, "noise": 0.0}
TINY_PICTURE = ImageView(size=32, margin=1.0, normalise="none", area=(0.5, 1.0), augment=TRUE_COLOURS)


class ColourMethod(Method, base=True):
    """A method that learns from pictures with colour. Grey ones, with no |a| or |b| above 5, are left out.

    Zhang, Isola & Efros, ECCV 2016. How many were left out is logged as the part `grey`.
    """

    beside: ClassVar[str] = "colour (grey pictures are left out)"

    @abstractmethod
    def colours(self, batch: Batch) -> Tensor:
        """Return a and b (B, 2, H, W) of the batch's pictures."""

    @abstractmethod
    def predict(self, lightness: Tensor) -> Tensor:
        """Return colours (B, 2, h, w), as views of colour have them, of lightness (B, 1, H, W), as its views do."""

    def usable(self, batch: Batch) -> Batch | None:
        """See `Method.usable`; pictures without colour are no samples."""
        batch = complete(batch, self.views)
        batch = batch.select(colourful(self.colours(batch)))
        return batch if enough(batch, self.least_batch) else None

    def forward(self, batch: Batch) -> Step:
        """See `Method.forward`; the part `grey` is the share of pictures that were left out."""
        step = super().forward(batch)
        if not step.idle:
            here = complete(batch, self.views)
            step.parts["grey"] = mean_over_world((~colourful(self.colours(here))).float())
        return step

    @torch.no_grad()
    def paint(self, pictures: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W), sRGB in [0, 1], in the colours that the networks give to their lightness.

        Colours are predicted with the shorter side at the size of the method's view, and brought to full size.
        """
        lightness = split(pictures, "lightness")
        size: int = self.settings.image.size
        scale = size / min(lightness.shape[-2:])
        small = [max(size, round(scale * side)) for side in lightness.shape[-2:]]
        seen = interpolate(lightness, size=small, mode="bilinear", antialias=True)
        colour = interpolate(self.predict(seen), size=lightness.shape[-2:], mode="bilinear")
        return join(lightness, colour)


def at_places(x: Tensor) -> Tensor:
    """Return the values of every place, (B H W, C), of maps (B, C, H, W)."""
    return x.movedim(1, -1).flatten(0, -2)


def as_colours(logits: Tensor, temperature: float) -> Tensor:
    """Return colours (B, 2, H, W), as views of colour have them, of scores (B, 313, H, W) of the bins."""
    ab = annealed_mean(at_places(logits), colour_bins().to(logits.device), temperature) / COLOUR_RANGE
    return ab.unflatten(0, (logits.shape[0], *logits.shape[2:])).movedim(-1, 1)
