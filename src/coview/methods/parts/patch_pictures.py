"""Pictures as pyramids of cells, kept as files: made once, and cut into patches by whoever needs them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coview.data.collection import Collection
from coview.data.identity import check
from coview.data.recording import Recording
from coview.errors import MediaError
from coview.files import read_tensors, write_tensors
from coview.media.container import open_media, sequential_in
from coview.media.hog import mirrored, pyramid
from coview.media.pictures import read_whole_frames
from coview.media.regular import head_of
from coview.media.stills import is_still, read_whole_still
from coview.objectives.patch_descriptors import window_of


@dataclass(frozen=True)
class PictureTask:
    """A picture to be made into a pyramid: where it lies and goes, and how it is read (`make_pyramid`)."""

    recording: Recording
    path: Path
    out: Path
    size: int
    patch: int
    cell: int
    octave: int


@dataclass(frozen=True)
class Place:
    """A patch: level and first cell; where `mirrored`, of the picture mirrored left to right."""

    level: int
    row: int
    column: int
    mirrored: bool = False


def different(collection: Collection) -> tuple[list[int], int]:
    """Return the rows that have a picture, each picture once, and how many copies were left out.

    A picture that lies there twice would confirm itself.
    """
    there = collection.column("has_video")
    names = collection.contents or collection.digests or collection.ids
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if there[row]:
            first.setdefault(name, row)
    return list(first.values()), sum(there) - len(first)


def picture_file(out: Path, row: int) -> Path:
    """Return where a picture's pyramid lies in a pipeline's folder."""
    return out / "pictures" / f"{row:07d}.safetensors"


def make_pyramid(task: PictureTask) -> str | None:
    """Write a picture's pyramid where it is not there yet; return why it cannot be made, None where it is."""
    if task.out.is_file():
        return None
    about = task.recording
    try:
        short = min(about.width, about.height)
        picture = read_picture(task.path, about, min(task.size, short))
    except MediaError as error:
        return f"{error.reason}: {error.message}"
    levels = pyramid(torch.from_numpy(picture.copy()), task.patch, task.cell, task.octave)
    if not levels:
        height, width = picture.shape[:2]
        least = task.cell * (task.patch + 2)
        return f"too-small: {width} x {height} pixels; a patch and the cells around it need {least} along a side"
    found = {"size": torch.tensor([*picture.shape[:2], about.height, about.width])}
    for number, level in enumerate(levels):
        found |= {f"cells{number}": level.cells, f"energy{number}": level.energy}
    found["scales"] = torch.tensor([level.scale for level in levels])
    write_tensors(found, task.out)
    return None


def read_picture(path: Path, about: Recording, size: int) -> NDArray[np.uint8]:
    """Return a still, or the middle frame of a film, uint8 (H, W, 3), the short side `size`.

    Raises:
        MediaError: the file cannot be read, or is not the one that was indexed.
    """
    check(path, size=about.bytes, modified=about.modified, digest=about.digest)
    if is_still(head_of(path)):
        return read_whole_still(path, size)
    with open_media(path, sequential_in(about.flags)) as media:
        return read_whole_frames(media, (about.video_start + about.video_end) / 2, [0], 1.0, size)[0]


class Pyramid:
    """A picture's pyramid, as `make_pyramid` kept it.

    Attributes:
        scales: by how much each level is shrunk.
    """

    def __init__(self, path: Path, patch: int, cell: int) -> None:
        self._tensors, self.patch, self.cell = read_tensors(path), patch, cell
        self.scales: list[float] = self._tensors["scales"].tolist()

    def cells(self, level: int, mirror: bool = False) -> Tensor:
        """Return a level's cells (rows, columns, 31)."""
        cells = self._tensors[f"cells{level}"]
        return mirrored(cells) if mirror else cells

    def energy(self, level: int, mirror: bool = False) -> Tensor:
        """Return a level's gradient energy (rows, columns)."""
        energy = self._tensors[f"energy{level}"]
        return energy.flip(1) if mirror else energy

    @cached_property
    def _factors(self) -> tuple[float, float]:
        read_height, read_width, height, width = self._tensors["size"].tolist()
        return width / read_width, height / read_height

    def box(self, place: Place) -> tuple[float, float, float, float]:
        """Return a patch as left, top, right, bottom in pixels of the picture as shown."""
        columns = self.cells(place.level).shape[1]
        first = columns - self.patch - place.column if place.mirrored else place.column
        side = self.cell * self.scales[place.level]  # a level's outermost ring of cells is left out
        left, top = (first + 1) * side, (place.row + 1) * side
        across, down = self._factors
        size = self.patch * side
        right, bottom = left + size, top + size
        return round(left * across, 2), round(top * down, 2), round(right * across, 2), round(bottom * down, 2)

    def window(self, place: Place, reach: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return cells, energy and what is inside of the window about a patch (`window_of`)."""
        at = (place.row, place.column, self.patch, reach)
        cells, inside = window_of(self.cells(place.level, place.mirrored), *at)
        energy, _ = window_of(self.energy(place.level, place.mirrored), *at)
        return cells, energy, inside
