"""What methods share that learn to colour: they learn from pictures that have colour, and paint grey ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from coview.data.views import Batch, ImageView, PictureView, ViewSpec
from coview.methods.contract import Method, Step
from coview.methods.parts.batch import complete, enough
from coview.methods.reading import Paints
from coview.objectives.colour import COLOUR_RANGE, join, split
from coview.objectives.colour_bins import annealed_mean, colour_bins, colourful
from coview.parallel import mean_over_world

# A picture's colours are what is learnt: nothing may change them on the way.
TRUE_COLOURS = {"jitter": 0.0, "grey": 0.0, "noise": 0.0}
_COARSE = 8  # pixels between those in which colour is looked for first
_AT_ONCE = 1 << 17  # pixels of a picture that are painted together
TINY_PICTURE = ImageView(size=32, margin=1.0, normalise="none", area=(0.5, 1.0), augment=TRUE_COLOURS)


def lightness_and_colour(image: ImageView) -> dict[str, ViewSpec]:
    """Return two aligned views of one crop of a picture: its lightness, and its colour."""
    colour = replace(image, space="colour", with_="lightness", area=None)
    return {"lightness": replace(image, space="lightness"), "colour": colour}


class ColourMethod(Method, base=True):
    """A method that learns from pictures with colour. Grey ones, with no |a| or |b| above 5, are left out.

    Zhang, Isola & Efros, ECCV 2016. How many were left out is logged as the part `grey`.
    """

    paints: ClassVar[Paints | None] = "colour"
    beside: ClassVar[str] = "more than grey in it (grey pictures are left out)"

    @abstractmethod
    def coloured(self, batch: Batch) -> Tensor:
        """Return bool (B,), which of the batch's pictures have colour."""

    @torch.no_grad()
    def paint(self, pictures: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W), sRGB in [0, 1], in the colours that the networks give to what they see of them.

        As published: `coview.painting` also keeps the lightness of colours that sRGB lacks.

        Raises:
            UsageError: see `canvas`.
        """
        view = cast(PictureView, self.views[self.canvas()])
        small = interpolate(pictures, size=shrunk(pictures.shape[-2:], view.size), mode="bilinear", antialias=True)
        sketch = self.sketch(view.seen(small, None))
        bands = in_bands(sketch, pictures.shape[-2:])
        return torch.cat([self.render(pictures[:, :, rows], band) for rows, band in bands], dim=2).clamp(0, 1)

    def render(self, grey: Tensor, sketch: Tensor) -> Tensor:
        """See `Method.render`: a sketch is a and b divided by 110."""
        return join(split(grey, "lightness"), sketch, clip=False)

    def forward(self, batch: Batch) -> Step:
        """See `Method.forward`; pictures without colour are no samples, and the part `grey` is their share."""
        batch = complete(batch, self.views)
        coloured = self.coloured(batch)
        kept = batch if bool(coloured.all()) else batch.select(coloured)
        if not enough(kept, self.least_batch):
            return self.idle()
        step = self.learn(kept)
        step.parts["grey"] = mean_over_world((~coloured).float())
        return step


def have_colour(pictures: Tensor) -> Tensor:
    """Return bool (B,), `colourful` of pictures (B, 3, H, W), sRGB.

    CIELAB of every pixel costs as much as a layer of a network: most show their colour in a few of them.
    """
    found = colourful(split(pictures[..., ::_COARSE, ::_COARSE], "colour") * COLOUR_RANGE)
    if not bool(found.all()):
        found[~found] = colourful(split(pictures[~found], "colour") * COLOUR_RANGE)
    return found


def shrunk(size: Sequence[int], short: int) -> list[int]:
    """Return height and width of a picture of a height and width brought to a shorter side of `short` pixels."""
    return [max(short, round(side * short / min(size))) for side in size]


def in_bands(maps: Tensor, size: Sequence[int], rows: tuple[int, int] | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Yield maps (B, K, h, w) brought to a height and width bilinearly, some rows at a time: which, and (B, K, n, W).

    Args:
        rows: the first wanted, and the first that is not; None: all.
    """
    height, width = size
    first, last = rows or (0, height)
    # Where the middles of the pixels lie, from the maps' edge at -1 to that at 1.
    down, across = (2 * (torch.arange(side, device=maps.device) + 0.5) / side - 1 for side in size)
    step = max(1, _AT_ONCE // width)
    for top in range(first, last, step):
        part = slice(top, min(top + step, last))
        y, x = torch.meshgrid(down[part], across, indexing="ij")
        grid = torch.stack([x, y], dim=-1).to(maps.dtype).expand(len(maps), -1, -1, -1)
        yield part, grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def at_places(x: Tensor) -> Tensor:
    """Return the values of every place, (B H W, C), of maps (B, C, H, W)."""
    return x.movedim(1, -1).flatten(0, -2)


def as_colours(logits: Tensor, temperature: float) -> Tensor:
    """Return colours (B, 2, H, W), as views of colour have them, of scores (B, 313, H, W) of the bins."""
    ab = annealed_mean(at_places(logits), colour_bins().to(logits.device), temperature) / COLOUR_RANGE
    return torch.unflatten(ab, 0, (logits.shape[0], *logits.shape[2:])).movedim(-1, 1)
