"""What methods share that learn to colour: they learn from pictures that have colour, and paint grey ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.views import Batch, ImageView, ViewSpec
from coview.methods.contract import Method, Step
from coview.methods.parts.batch import complete, enough
from coview.objectives.colour import COLOUR_RANGE, join, split
from coview.objectives.colour_bins import annealed_mean, colour_bins, colourful
from coview.parallel import mean_over_world

# A picture's colours are what is learnt: nothing may change them on the way.
TRUE_COLOURS = {"jitter": 0.0, "grey": 0.0, "noise": 0.0}
TINY_PICTURE = ImageView(size=32, margin=1.0, normalise="none", area=(0.5, 1.0), augment=TRUE_COLOURS)


def lightness_and_colour(image: ImageView) -> dict[str, ViewSpec]:
    """Return two aligned views of one crop of a picture: its lightness, and its colour."""
    colour = replace(image, space="colour", with_="lightness", area=None)
    return {"lightness": replace(image, space="lightness"), "colour": colour}


class ColourMethod(Method, base=True):
    """A method that learns from pictures with colour. Grey ones, with no |a| or |b| above 5, are left out.

    Zhang, Isola & Efros, ECCV 2016. How many were left out is logged as the part `grey`.
    """

    beside: ClassVar[str] = "colour (grey pictures are left out)"

    @abstractmethod
    def colours(self, batch: Batch) -> Tensor:
        """Return a and b (B, 2, H, W) of the batch's pictures."""

    @abstractmethod
    def paint(self, pictures: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W), sRGB in [0, 1], in the colours that the networks give to their lightness."""

    def forward(self, batch: Batch) -> Step:
        """See `Method.forward`; pictures without colour are no samples, and the part `grey` is their share."""
        batch = complete(batch, self.views)
        coloured = colourful(self.colours(batch))
        kept = batch if bool(coloured.all()) else batch.select(coloured)
        if not enough(kept, self.least_batch):
            return self.idle()
        step = self.learn(kept)
        step.parts["grey"] = mean_over_world((~coloured).float())
        return step


def painted(pictures: Tensor, size: int, predict: Callable[[Tensor], Tensor]) -> Tensor:
    """Return pictures (B, 3, H, W), sRGB in [0, 1], with their own lightness and predicted colours.

    Args:
        size: of the shorter side, in pixels, at which colours are predicted before they are brought to full size.
        predict: from lightness (B, 1, h, w) to colours (B, 2, h', w'), both as views have them.
    """
    lightness = split(pictures, "lightness")
    seen = interpolate(lightness, size=shrunk(pictures, size), mode="bilinear", antialias=True)
    return join(lightness, interpolate(predict(seen), size=lightness.shape[-2:], mode="bilinear"))


def shrunk(pictures: Tensor, size: int) -> list[int]:
    """Return height and width of pictures (..., H, W) brought to a shorter side of `size` pixels."""
    return [max(size, round(side * size / min(pictures.shape[-2:]))) for side in pictures.shape[-2:]]


def at_places(x: Tensor) -> Tensor:
    """Return the values of every place, (B H W, C), of maps (B, C, H, W)."""
    return x.movedim(1, -1).flatten(0, -2)


def as_colours(logits: Tensor, temperature: float) -> Tensor:
    """Return colours (B, 2, H, W), as views of colour have them, of scores (B, 313, H, W) of the bins."""
    ab = annealed_mean(at_places(logits), colour_bins().to(logits.device), temperature) / COLOUR_RANGE
    return torch.unflatten(ab, 0, (logits.shape[0], *logits.shape[2:])).movedim(-1, 1)
