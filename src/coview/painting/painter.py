"""A model that paints: what its method sketches at a small size is brought to the size of the photograph.

Colours are sketched of the whole picture, enlarged and given to the photograph's own lightness, some rows at a time.
Holes are filled from a square around each; noise is removed from squares that overlap (`squares.py`).
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.views import PictureView
from coview.errors import UsageError
from coview.methods import available
from coview.methods.cards import card_of
from coview.methods.parts.colour import in_bands, shrunk
from coview.model import Model
from coview.objectives.colour import greyed, join_within, split
from coview.painting.squares import cut_holes, joined, window_around

Picture = NDArray[np.uint8]  # (H, W, 3), sRGB
Hole = NDArray[np.bool_]  # (H, W), True where the picture is missing

_LONG = 8  # long side / short side, above which a picture is not seen at once


class Painter:
    """Paints pictures of any size with a model.

    Attributes:
        paints: "colour", "holes" or "noise"; see `methods.contract.Method`.

    Raises:
        UsageError: the model makes no pictures; the message names the methods that do.
    """

    def __init__(self, model: Model) -> None:
        method = model.method
        if method.paints is None:
            raise UsageError(f"{method.about.slug} makes no pictures; {those_that_paint()}")
        name = method.canvas()
        self.model, self.paints = model, method.paints
        # `canvas` promises a view of pictures.
        self.view = cast(PictureView, model.views[name])
        self.statistics = model.preprocess.statistics_of(name)

    @torch.no_grad()
    def paint(self, picture: Picture, hole: Hole | None = None) -> Picture:
        """Return a picture as the model makes it, of the same size.

        Of colour, the network sees the lightness alone, and the lightness is kept to the rounding of 8 bits. Where a
        picture has no hole, it stays to the bit.

        Args:
            hole: for "holes", and for nothing else.

        Raises:
            UsageError: a hole is missing, empty, of another size or too large; a hole was given for something else; or
                the picture is too long to be seen at once.
        """
        if (hole is None) is (self.paints == "holes"):
            raise UsageError("say where the hole is" if hole is None else "only holes are filled by a mask or a box")
        with self.model.evaluating():
            if hole is not None:
                return self._fill(picture, hole)
            return self._clean(picture) if self.paints == "noise" else self._colour(picture)

    def _colour(self, picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        if max(height, width) > _LONG * min(height, width):
            raise UsageError(f"{width} x {height} pixels; at most {_LONG} times as long as wide is coloured: cut it")
        whole, made = as_tensor(picture), np.empty_like(picture)
        small = interpolate(whole, shrunk((height, width), self.view.size), mode="bilinear", antialias=True)
        sketch = self._sketch(greyed(self._on_device(small)))
        for rows, band in in_bands(sketch, (height, width)):
            grey = greyed(self._on_device(whole[:, :, rows]))
            coloured = self.model.method.render(grey, band)
            kept = join_within(split(grey, "lightness"), split(coloured, "colour"))
            made[rows] = as_picture(kept)
        return made

    def _fill(self, picture: Picture, hole: Hole) -> Picture:
        if hole.shape != picture.shape[:2]:
            own, other = (f"{shape[1]} x {shape[0]}" for shape in (picture.shape, hole.shape))
            raise UsageError(f"the mask has {other} pixels, and the picture {own}")
        if not hole.any():
            raise UsageError("there is no hole in it: where the mask is white, the picture is missing")
        made, missing = picture.copy(), hole.copy()
        size = self.view.size
        for piece in cut_holes(hole, size):
            window = window_around(piece, hole.shape, size)
            around, holes = made[window].copy(), missing[window]
            if holes.all():
                raise UsageError("a hole is too large: nothing is left around it to fill it from; make it smaller")
            # What was in the hole must not shine through where pixels are brought together.
            around_it = np.mean(around, axis=(0, 1), where=~holes[:, :, None])
            np.copyto(around, around_it.round().astype(np.uint8), where=holes[:, :, None])
            small = interpolate(as_tensor(around), (size, size), mode="bilinear", antialias=True)
            del around  # of the size of the window, and so are the holes as numbers
            dug = interpolate(
                torch.from_numpy(holes).float()[None, None], (size, size), mode="bilinear", antialias=True
            )
            filled = self._pictures(self._on_device(small), (dug > 0).to(self.model.device))
            self._paste(made, missing, piece, window, filled)
        return made

    @staticmethod
    def _paste(
        made: Picture, missing: Hole, piece: tuple[slice, slice], window: tuple[slice, slice], filled: Tensor
    ) -> None:
        """Put a piece of the holes of a window, made small, into the picture; it is missing no more."""
        (down, across), (rows, columns) = window, piece
        size = (down.stop - down.start, across.stop - across.start)
        inside = slice(columns.start - across.start, columns.stop - across.start)
        for part, band in in_bands(filled, size, (rows.start - down.start, rows.stop - down.start)):
            there = slice(part.start + down.start, part.stop + down.start), columns
            new = as_picture(band[:, :, :, inside])
            made[there] = np.where(missing[there][:, :, None], new, made[there])
        missing[piece] = False

    def _clean(self, picture: Picture) -> Picture:
        made, side = np.empty_like(picture), min(self.view.size, *picture.shape[:2])

        def clean(squares: NDArray[np.uint8]) -> Tensor:
            given = self._on_device(torch.from_numpy(squares).permute(0, 3, 1, 2))
            size = (self.view.size, self.view.size)
            seen = given if given.shape[2:] == size else interpolate(given, size, mode="bilinear", antialias=True)
            return interpolate(self._pictures(seen, None), (side, side), mode="bilinear", antialias=True).cpu()

        for rows, band in joined(picture, side, clean):
            made[rows] = as_picture(band[None])
        return made

    def _pictures(self, pictures: Tensor, holes: Tensor | None) -> Tensor:
        """Return what is sketched of pictures (B, 3, size, size) in [0, 1], as pictures."""
        return self.view.unseen(self._sketch(pictures, holes), pictures, self.statistics).clamp(0, 1)

    def _sketch(self, pictures: Tensor, holes: Tensor | None = None) -> Tensor:
        return self.model.method.sketch(self.view.seen(pictures, self.statistics), holes)

    def _on_device(self, pictures: Tensor) -> Tensor:
        return pictures.to(self.model.device).float() / 255


def those_that_paint() -> str:
    """Return a sentence that names the methods which make pictures, by what they make."""
    makers: dict[str, list[str]] = {}
    for slug in sorted(available()):
        if paints := card_of(slug).paints:
            makers.setdefault(paints, []).append(slug)
    return "these do: " + "; ".join(f"{paints} by {', '.join(slugs)}" for paints, slugs in makers.items())


def as_tensor(picture: Picture) -> Tensor:
    """Return a picture as uint8 (1, 3, H, W); nothing is copied."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def as_picture(rgb: Tensor) -> Picture:
    """Return one picture (1, 3, H, W) in [0, 1] in 8 bits."""
    rounded: Picture = (rgb[0] * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return rounded
