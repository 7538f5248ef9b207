"""Pictures with the normals of what they show, from the track "depth" beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.collection import Collection
from coview.data.identity import real_path
from coview.data.normals import normals_of
from coview.data.recording import Recording
from coview.data.tracks import read_depth
from coview.data.whole_pictures import CollectedPictures, Pictures, WithAnothersTruth
from coview.errors import MediaError

TRACK = "depth"
_OTHER = 12  # stream of the permutation


class Surface(NamedTuple):
    """A picture, uint8 (3, H, W), and unit normals float32 (3, H, W): right, down, away; 0 where nothing is known."""

    picture: Tensor
    normals: Tensor


class Surfaces(Pictures, Protocol):
    """Pictures with normals, by row; they have no classes."""

    def __getitem__(self, row: int) -> Surface: ...


class CollectedSurfaces(CollectedPictures):
    """Implements `Surfaces`: a collection's pictures that have a map of depth of their own size.

    Normals are made when a picture is first asked for and kept, as float16: 1.4 MB for a picture of 560 x 426.

    Args:
        collection: or a part of one.
        focal: of the camera, as a share of a picture's width.

    Raises:
        UsageError: no picture is left; says what was wrong with the first.
    """

    classes: Sequence[str] = ()

    def __init__(self, collection: Collection, focal: float) -> None:
        super().__init__(collection, "picture with depth")
        self.fingerprint += f"-normals-{focal:g}"
        self._focal = focal
        self._normals: dict[int, Tensor] = {}

    def __getitem__(self, row: int) -> Surface:
        picture = self.picture(row)
        if row not in self._normals:
            depth = torch.from_numpy(read_depth(self._root / real_path(self._recordings[row].tracks[TRACK])))
            normals, _ = normals_of(depth, self._focal)
            self._normals[row] = normals.permute(2, 0, 1).half()
        return Surface(picture, self._normals[row].float())

    def _take(self, recording: Recording) -> None:
        path = self._track(recording, TRACK)
        size, own = read_depth(path).shape, (recording.height, recording.width)
        if size != own:
            raise MediaError(str(path), "other-size", f"it has {size} pixels, the picture {own}")


class PermutedSurfaces(WithAnothersTruth[Surfaces]):
    """The same pictures, each with the normals of another, at its size."""

    def __init__(self, surfaces: Surfaces, seed: int) -> None:
        super().__init__(surfaces, seed, _OTHER)

    def __getitem__(self, row: int) -> Surface:
        picture, normals = self._pictures[row].picture, self._pictures[int(self._other[row])].normals
        return Surface(picture, interpolate(normals[None], picture.shape[1:], mode="nearest")[0])


def mirrored(surface: Surface) -> Surface:
    """Return a picture with left and right exchanged: what faced right faces left."""
    normals = surface.normals.flip(2) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    return Surface(surface.picture.flip(2), normals)
