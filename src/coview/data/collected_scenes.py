"""The scenes of a collection: recordings that are pictures, with the tracks "objects" (VOC's XML) and "mask" (PNG)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from coview.data.annotations import Annotation, read_annotation, read_mask
from coview.data.collection import Collection
from coview.data.identity import real_path
from coview.data.recording import Recording
from coview.data.scenes import VOID, Objects, Scene
from coview.data.whole_pictures import CollectedPictures
from coview.errors import MediaError, UsageError

Truth = Literal["objects", "mask"]
_NOTHING = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))


class CollectedScenes(CollectedPictures):
    """Implements `Scenes`; truth is read and checked once, pictures when they are asked for.

    Args:
        collection: or a part of one.
        needs: what a picture must have; others are left out and named in `problems`.
        classes: names of the classes in the order of their numbers; None: those of the collection (`class_names`).
        empty: whether pictures without objects are kept, where objects are needed: what is found in them is wrong.

    Raises:
        UsageError: no picture is left; says what was wrong with the first.
    """

    def __init__(
        self, collection: Collection, needs: Truth, classes: Sequence[str] | None = None, *, empty: bool = False
    ) -> None:
        self._needs: Truth = needs
        self.classes = class_names(collection) if classes is None else list(classes)
        if not self.classes:
            raise UsageError(f"{collection.folder}: no picture has labels or objects, so that there are no classes")
        self._empty = empty
        self._masks: list[Path | None] = []
        self._truth: list[Objects] = []
        super().__init__(collection, f"picture with {needs}")

    def __getitem__(self, row: int) -> Scene:
        return Scene(self.picture(row), self._truth[row], self.mask(row))

    def truth(self, row: int) -> Objects:
        """See `Scenes.truth`."""
        return self._truth[row]

    def mask(self, row: int) -> Tensor | None:
        """See `Scenes.mask`; None where masks are not needed."""
        place = self._masks[row]
        return None if place is None else read_mask(place)

    def size(self, row: int) -> tuple[int, int]:
        """See `Scenes.size`."""
        return self._recordings[row].height, self._recordings[row].width

    def _take(self, recording: Recording) -> None:
        path, size = self._track(recording, self._needs), (recording.width, recording.height)
        if self._needs == "mask":  # the boxes beside it are not asked for
            self._check_mask(path, size)
            self._truth.append(_NOTHING)
            self._masks.append(path)
        else:
            self._truth.append(self._objects(recording.id, read_annotation(path), size))
            self._masks.append(None)

    def _objects(self, name: str, found: Annotation, size: tuple[int, int]) -> Objects:
        if found.size != size:
            raise MediaError(name, "other-size", f"boxes are of {found.size} pixels, the picture has {size}")
        if not (found.names or self._empty):
            raise MediaError(name, "no-objects", "nothing is in it to learn from")
        if unknown := sorted(set(found.names) - set(self.classes)):
            raise MediaError(name, "unknown-class", f"{', '.join(unknown)} is none of {', '.join(self.classes)}")
        numbers = torch.tensor([self.classes.index(each) for each in found.names], dtype=torch.int64)
        return Objects(found.boxes, numbers, found.difficult)

    def _check_mask(self, path: Path, size: tuple[int, int]) -> None:
        mask = read_mask(path)
        if tuple(mask.shape[::-1]) != size:
            raise MediaError(str(path), "other-size", f"its size is {tuple(mask.shape[::-1])}, the picture's {size}")
        highest = int(torch.where(mask == VOID, 0, mask).max())
        if highest > len(self.classes):
            raise MediaError(str(path), "unknown-class", f"it has class {highest}, and there are {len(self.classes)}")


def class_names(collection: Collection) -> list[str]:
    """Return the classes of a collection in alphabetical order: of its `labels`, else those that its objects name."""
    if "labels" in collection.columns(["labels"]).column_names:  # collections of before have none
        labelled = {name for row in collection.column("labels") for name, _ in row}
        if labelled:
            return sorted(labelled)
    names: set[str] = set()
    for recording in collection:
        if "objects" in recording.tracks:
            try:
                names |= set(read_annotation(collection.root / real_path(recording.tracks["objects"])).names)
            except MediaError:
                continue  # whoever asks for the scene is told
    return sorted(names)
