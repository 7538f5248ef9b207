"""Pictures with the normals of what they show, from the track "depth" beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.collection import Collection
from coview.data.identity import check, real_path
from coview.data.normals import normals_of
from coview.data.recording import Recording
from coview.data.tracks import read_depth
from coview.errors import MediaError, UsageError
from coview.media.stills import read_full_still
from coview.randomness import make_key, uniform

TRACK = "depth"
_OTHER = 12  # stream of the permutation


class Surface(NamedTuple):
    """A picture, uint8 (3, H, W), and unit normals float32 (3, H, W): right, down, away; 0 where nothing is known."""

    picture: Tensor
    normals: Tensor


class Surfaces(Protocol):
    """Pictures with normals, by row; the same row gives the same."""

    name: str
    fingerprint: str

    @property
    def classes(self) -> Sequence[str]:
        """None: normals have no classes."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """Names of the pictures."""
        ...

    @property
    def problems(self) -> Sequence[tuple[str, str]]:
        """Pairs (id, reason) of pictures that were left out."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Surface: ...

    def mirrorable(self, row: int) -> bool:
        """Return whether left and right of a row's picture may be exchanged."""
        ...


class CollectedSurfaces:
    """Implements `Surfaces`: a collection's pictures that have a map of depth of their own size.

    Normals are made when a picture is first asked for and kept, as float16: 1.4 MB for a picture of 560 x 426.

    Args:
        collection: or a part of one.
        focal: of the camera, as a share of a picture's width.

    Attributes:
        problems: (id, reason) of what was left out.
        digests, contents: by row, of the pictures, as of a `Source` of files.

    Raises:
        UsageError: no picture is left; says what was wrong with the first.
    """

    classes: Sequence[str] = ()

    def __init__(self, collection: Collection, focal: float) -> None:
        self.name, self._root, self._focal = str(collection.folder), collection.root, focal
        self.fingerprint = f"{collection.fingerprint}-normals-{focal:g}"
        self.ids: list[str] = []
        self.problems: list[tuple[str, str]] = []
        self.digests: list[str] = []
        self.contents: list[str] = []
        self._recordings: list[Recording] = []
        self._normals: dict[int, Tensor] = {}
        for recording in collection:
            try:
                self._check(recording)
            except MediaError as error:
                self.problems.append((recording.id, f"{error.reason}: {error.message}"))
                continue
            self.ids.append(recording.id)
            self.digests.append(recording.digest)
            self.contents.append(recording.content)
            self._recordings.append(recording)
        if not self.ids:
            first = ": ".join(self.problems[0]) if self.problems else "it has no recordings"
            raise UsageError(f"{self.name}: no picture with depth is left ({first})")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> Surface:
        recording = self._recordings[row]
        path = self._root / real_path(recording.path)
        if recording.bytes:
            check(path, size=recording.bytes, modified=recording.modified, digest=recording.digest)
        picture = torch.from_numpy(read_full_still(path)).permute(2, 0, 1)
        if row not in self._normals:
            depth = torch.from_numpy(read_depth(self._root / real_path(recording.tracks[TRACK])))
            normals, _ = normals_of(depth, self._focal)
            self._normals[row] = normals.permute(2, 0, 1).half()
        return Surface(picture, self._normals[row].float())

    def mirrorable(self, row: int) -> bool:
        """See `Surfaces.mirrorable`: unless its flags say "nomirror"."""
        return "nomirror" not in self._recordings[row].flags

    def _check(self, recording: Recording) -> None:
        if TRACK not in recording.tracks:
            raise MediaError(recording.id, "no-depth", f"it has no track {TRACK!r}")
        path = self._root / real_path(recording.tracks[TRACK])
        if (known := recording.track_files.get(TRACK)) is not None:
            check(path, size=known.bytes, modified=known.modified, digest=known.digest)
        size, own = read_depth(path).shape, (recording.height, recording.width)
        if size != own:
            raise MediaError(str(path), "other-size", f"it has {size} pixels, the picture {own}")


class PermutedSurfaces:
    """The same pictures, each with the normals of another, at its size: a control that must find nothing."""

    def __init__(self, surfaces: Surfaces, seed: int) -> None:
        self._surfaces = surfaces
        self.name, self.classes, self.ids, self.problems = (
            surfaces.name, surfaces.classes, surfaces.ids, surfaces.problems,
        )  # fmt: skip
        self.fingerprint = f"{surfaces.fingerprint}-permuted-{seed}"
        self.digests, self.contents = getattr(surfaces, "digests", None), getattr(surfaces, "contents", None)
        order = torch.argsort(uniform(make_key(seed, torch.arange(len(surfaces))), _OTHER), stable=True)
        self._other = torch.empty_like(order)
        self._other[order] = order.roll(1)  # one round through all: none keeps its own

    def __len__(self) -> int:
        return len(self._surfaces)

    def __getitem__(self, row: int) -> Surface:
        picture, normals = self._surfaces[row].picture, self._surfaces[int(self._other[row])].normals
        return Surface(picture, interpolate(normals[None], picture.shape[1:], mode="nearest")[0])

    def mirrorable(self, row: int) -> bool:
        """See `Surfaces.mirrorable`."""
        return self._surfaces.mirrorable(row)


def mirrored(surface: Surface) -> Surface:
    """Return a picture with left and right exchanged: what faced right faces left."""
    normals = surface.normals.flip(2) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    return Surface(surface.picture.flip(2), normals)
