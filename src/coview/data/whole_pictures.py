"""Whole pictures with truth of any kind: what all of them offer, those of a collection, and the control for them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from coview.data.collection import Collection
from coview.data.identity import check, real_path
from coview.data.leaks import Named
from coview.data.recording import Recording
from coview.errors import MediaError, UsageError
from coview.media.stills import read_full_still
from coview.randomness import make_key, uniform


class Pictures(Named, Protocol):
    """Pictures by row; the same row gives the same picture and truth."""

    fingerprint: str

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes in the order of their numbers; none where the truth has no classes."""
        ...

    @property
    def problems(self) -> Sequence[tuple[str, str]]:
        """Pairs (id, reason) of pictures that were left out."""
        ...

    def __len__(self) -> int: ...

    def mirrorable(self, row: int) -> bool:
        """Return whether left and right of a row's picture may be exchanged."""
        ...


P = TypeVar("P", bound=Pictures)


class CollectedPictures(ABC):
    """The pictures of a collection whose truth can be read.

    Args:
        collection: or a part of one.
        what: a picture with its truth, in words.

    Attributes:
        problems: (id, reason) of what was left out.
        digests, contents: by row, of the pictures, as of a `Source` of files.

    Raises:
        UsageError: no picture is left; says what was wrong with the first.
    """

    def __init__(self, collection: Collection, what: str) -> None:
        self.name, self.fingerprint, self._root = str(collection.folder), collection.fingerprint, collection.root
        self.ids: list[str] = []
        self.problems: list[tuple[str, str]] = []
        self.digests: list[str] = []
        self.contents: list[str] = []
        self._recordings: list[Recording] = []
        for recording in collection:
            try:
                self._take(recording)
            except MediaError as error:
                self.problems.append((recording.id, f"{error.reason}: {error.message}"))
                continue
            self.ids.append(recording.id)
            self.digests.append(recording.digest)
            self.contents.append(recording.content)
            self._recordings.append(recording)
        if not self.ids:
            first = ": ".join(self.problems[0]) if self.problems else "it has no recordings"
            raise UsageError(f"{self.name}: no {what} is left ({first})")

    @abstractmethod
    def _take(self, recording: Recording) -> None:
        """Check the truth of a recording, and keep of it what the next row needs; raises MediaError where it is bad."""

    def __len__(self) -> int:
        return len(self.ids)

    def picture(self, row: int) -> Tensor:
        """Read a row's picture, uint8 (3, H, W); raises MediaError where its file is not what was indexed."""
        recording = self._recordings[row]
        path = self._root / real_path(recording.path)
        if recording.bytes:
            check(path, size=recording.bytes, modified=recording.modified, digest=recording.digest)
        return torch.from_numpy(read_full_still(path)).permute(2, 0, 1)

    def mirrorable(self, row: int) -> bool:
        """See `Pictures.mirrorable`: unless its flags say "nomirror"."""
        return "nomirror" not in self._recordings[row].flags

    def _track(self, recording: Recording, name: str) -> Path:
        """Return the file of a recording's track, which is what was indexed."""
        if name not in recording.tracks:
            raise MediaError(recording.id, f"no-{name}", f"it has no track {name!r}")
        path = self._root / real_path(recording.tracks[name])
        if (known := recording.track_files.get(name)) is not None:
            check(path, size=known.bytes, modified=known.modified, digest=known.digest)
        return path


class WithAnothersTruth(Generic[P]):
    """The same pictures, each with the truth of another (`_other[row]`): a control that must find nothing.

    Raises:
        UsageError: there is one picture alone.
    """

    def __init__(self, pictures: P, seed: int, stream: int) -> None:
        if len(pictures) < 2:
            raise UsageError(f"{pictures.name}: one picture has no other whose truth it could have; give two or more")
        self._pictures = pictures
        self.name, self.classes, self.ids = pictures.name, pictures.classes, pictures.ids
        self.problems, self.fingerprint = pictures.problems, f"{pictures.fingerprint}-permuted-{seed}"
        self.digests, self.contents = getattr(pictures, "digests", None), getattr(pictures, "contents", None)
        order = torch.argsort(uniform(make_key(seed, torch.arange(len(pictures))), stream), stable=True)
        self._other = torch.empty_like(order)
        self._other[order] = order.roll(1)  # one round through all: none keeps its own

    def __len__(self) -> int:
        return len(self._pictures)

    def mirrorable(self, row: int) -> bool:
        """See `Pictures.mirrorable`."""
        return self._pictures.mirrorable(row)
