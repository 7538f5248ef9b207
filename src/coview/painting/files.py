"""Photographs in, PNG out: which files a folder holds, where their holes are, and what is made of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
from PIL import Image
from torch.nn.functional import interpolate

from coview.data.adapters.folder import STILLS, walk
from coview.data.identity import as_text
from coview.errors import MediaError, UsageError
from coview.files import written_whole
from coview.media.regular import head_of
from coview.media.stills import is_still, read_full_still
from coview.objectives.colour import COLOUR_RANGE, greyed, split
from coview.objectives.colour_bins import colourful
from coview.painting.painter import Hole, Painter, Picture, as_picture, as_tensor

SHOWN = 320  # pixels of the longer side of what is shown
_GREY = 119  # of a hole that is shown


@dataclass(frozen=True)
class Painted:
    """A file, the PNG that was made of it, and what is shown: captions and small pictures."""

    source: Path
    target: Path
    shown: list[tuple[str, Picture]]


@dataclass(frozen=True, kw_only=True)
class Holes:
    """Where pictures are missing: a box in pixels (left, top, width, height), or a picture that is white there.

    With a folder of masks, each picture has the one of its own name, whatever its ending.
    """

    box: tuple[int, int, int, int] | None = None
    mask: Path | None = None

    def check(self, painter: Painter) -> None:
        """Raise UsageError where a model fills holes and none were said, or the other way round."""
        said = (self.box or self.mask) is not None
        if painter.paints == "holes" and not said:
            raise UsageError("this model fills holes: say where they are, by a mask or a box (--mask, --box)")
        if painter.paints != "holes" and said:
            raise UsageError(f"this model makes {painter.paints} and fills no holes: leave out mask and box")

    def of(self, relative: Path, picture: Picture) -> Hole | None:
        """Return where a picture, by its name below the folder, is missing; None where nothing was said.

        Raises:
            UsageError: the box lies outside of the picture, or the folder has no mask for it.
            MediaError: the mask cannot be read.
        """
        if self.box is not None:
            left, top, width, height = self.box
            tall, wide = picture.shape[:2]
            if min(left, top) < 0 or min(width, height) < 1 or left + width > wide or top + height > tall:
                raise UsageError(f"the box does not lie inside of the picture, which has {wide} x {tall} pixels")
            hole = np.zeros(picture.shape[:2], dtype=bool)
            hole[top : top + height, left : left + width] = True
            return hole
        if self.mask is None:
            return None
        mask = self.mask
        if mask.is_dir():
            found = sorted((mask / relative.parent).glob(f"{escape(relative.stem)}.*"))
            if not found:
                raise UsageError(f"{mask} has no mask of this name")
            mask = found[0]
        return np.asarray(read_full_still(mask).max(2) >= 128)


def pictures_in(place: Path) -> tuple[Path, list[Path], list[tuple[str, str]]]:
    """Return the folder of one picture or of many, their names below it, and (folder, reason) of what was not entered.

    A file is taken for a picture by its ending or else by its first bytes; hidden ones are left out.

    Raises:
        UsageError: there are none.
    """
    if not place.is_dir():
        return place.parent, [Path(place.name)], []
    found = walk(place)
    pictures = [
        file
        for file in found.files
        if not any(part.startswith(".") for part in file.parts)
        and (re.fullmatch(STILLS, file.suffix.lower()) or is_still(head_of(place / file)))
    ]
    if not pictures:
        raise UsageError(f"{place}: there is no picture below this folder")
    return place, pictures, [(row.path, row.message) for row in found.refused]


def check_empty(out: Path) -> None:
    """Raise UsageError where there is something in a folder that is to be written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder; choose another one, so that nothing is overwritten")


def paint_files(
    painter: Painter,
    place: Path,
    out: Path,
    holes: Holes,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Painted], list[tuple[str, str]]]:
    """Paint a picture, or all below a folder, into `out`; return them, and (file, reason) of those that were left out.

    Each PNG is called as its picture; where two would have one name, they keep their endings before `.png`.

    Args:
        out: a folder that is empty or not there yet, so that nothing is overwritten.
        progress: called with (done, total).

    Raises:
        UsageError: something is in `out`, there is no picture, or holes are missing or not wanted.
    """
    holes.check(painter)
    folder, names, problems = pictures_in(place)
    check_empty(out)
    out.mkdir(parents=True, exist_ok=True)
    taken = Counter(name.with_suffix(".png") for name in names)
    painted: list[Painted] = []
    for done, name in enumerate(names):
        progress(done, len(names))
        target = name.with_suffix(".png")
        target = out / (target if taken[target] == 1 else name.with_name(f"{name.name}.png"))
        try:
            painted.append(paint_file(painter, folder / name, target, holes, name))
        except (MediaError, UsageError) as error:
            reason = f"{error.reason}: {error.message}" if isinstance(error, MediaError) else str(error)
            problems.append((as_text(str(folder / name)), reason))
    progress(len(names), len(names))
    return painted, problems


def paint_file(painter: Painter, source: Path, target: Path, holes: Holes, relative: Path) -> Painted:
    """Paint one picture and write it as a PNG.

    Raises:
        UsageError, MediaError: it cannot be read or painted.
    """
    picture = read_full_still(source)
    hole = holes.of(relative, picture)
    made = painter.paint(picture, hole)
    shown = sheet(painter.paints, picture, made, hole)
    del picture
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(target) as aside:
        Image.fromarray(made).save(aside, "PNG")
    return Painted(source, target, shown)


def sheet(paints: str, picture: Picture, made: Picture, hole: Hole | None) -> list[tuple[str, Picture]]:
    """Return what is shown beside each other of a picture and what was made of it: captions, and small pictures."""
    small, done = thumbnail(picture), thumbnail(made)
    if paints == "colour":
        rgb = as_tensor(small).float() / 255
        true = [("true colour", small)] if bool(colourful(split(rgb, "colour") * COLOUR_RANGE)) else []
        return [("lightness, the input", as_picture(greyed(rgb))), ("coloured", done), *true]
    if hole is not None:
        missing = np.asarray(Image.fromarray(hole).resize(small.shape[1::-1]))
        dug = np.where(missing[:, :, None], np.uint8(_GREY), small)
        return [("with the hole, the input", dug), ("filled", done), ("as it was", small)]
    return [("the input", small), ("without noise", done)]


def thumbnail(picture: Picture) -> Picture:
    """Return a picture brought to `SHOWN` pixels where it is larger."""
    share = SHOWN / max(picture.shape)
    if share >= 1:
        return picture
    size = [max(1, round(side * share)) for side in picture.shape[:2]]
    shrunk = interpolate(as_tensor(picture), size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    return np.ascontiguousarray(shrunk.numpy())
