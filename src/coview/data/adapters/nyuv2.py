"""NYU Depth V2, its labelled part (Silberman, Hoiem, Kohli & Fergus, ECCV 2012): rooms with depth and named objects.

    ROOT/nyu_depth_v2_labeled.mat   images, rawDepths, depths, labels, names, scenes, sceneTypes
    ROOT/splits.mat                 trainNdxs, testNdxs: numbers of pictures, from 1 on

The first is MATLAB 7.3, which is HDF5 with the axes the other way round: pictures are (N, 3, W, H), and lists of words
hold references to arrays of characters. It is read by h5py (extra `hdf5`), one picture at a time. A recording is a PNG
with the track "depth", as measured, 0 where nothing was, and the track "filled", in which the gaps are painted in; its
label is the kind of room, its `labels` the objects that are seen, its group the scene. Pictures of the published size
are cut to the part that the sensor's depth covers, as the toolbox of the data set does. Normals are made of the depth.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coview.data.adapters import Item, Made, Options, Refused
from coview.data.adapters.depth_files import write_pair
from coview.data.adapters.official import Download
from coview.errors import UsageError

LABELLED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
WHERE = (
    f"{LABELLED} is at https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html, {SPLITS} (the official parts) at "
    "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat; the folder holds both."
)
OFFICIAL = {"train": 795, "test": 654}
_PARTS = {"trainNdxs": "train", "testNdxs": "test"}
_SIZE, _COVERED = (480, 640), (slice(44, 471), slice(40, 601))  # of pictures as published, and what depth covers
_LACKING = {
    "rawDepths": 'the track "depth" holds what was painted into the gaps too, and normals are made of it',
    "depths": 'there is no track "filled"',
    "labels": "objects are not known",
    "names": "objects are not known",
    "sceneTypes": "recordings have no label",
    "scenes": "pictures of one room are not known to belong together",
}
_MOST_SIDE, _MOST_PICTURES, _MOST_LETTERS = 8192, 100_000, 1000


def make(out: Path, options: Options) -> Made:
    """Write each picture and its depth below `out`, and return the items; what is there is kept.

    Raises:
        UsageError: unknown variant, h5py is not installed, the labelled file is missing or is not of this form, or the
            split file is damaged.
    """
    if options.variant:
        raise UsageError(f"nyuv2:{options.variant}: expected nyuv2")
    source = Download("nyuv2", options, WHERE)
    found = sorted(source.root.glob(LABELLED)) + sorted(source.root.glob(f"*/{LABELLED}"))
    if not found:
        raise UsageError(f"nyuv2: {source.root} lacks {LABELLED}. {WHERE}")
    with opened(found[0]) as file:
        tables = _Tables(file, found[0])
        parts = _parts(source, tables.count)
        items: list[Item] = []
        count = tables.count if options.count is None else min(options.count, tables.count)
        for row in range(count):
            name = f"{row + 1:04d}"
            try:
                pair, about = tables.picture(row), tables.about(row)
            except OSError as error:  # a part of the file that cannot be unpacked
                message = f"picture {row + 1} cannot be read ({error}); fetch the file again"
                source.refused.append(Refused(path=f"{LABELLED}/{name}", reason="damaged", message=message))
            else:
                path, tracks = write_pair(out, name, *pair)
                items.append(Item(path=path, id=name, split=parts.get(row + 1), tracks=tracks, **about))
            options.progress(row + 1, count)
    there = {part: sum(item.split == part for item in items) for part in OFFICIAL}
    report = {"pictures": len(items), "official": OFFICIAL, "there": there}
    notes = [f"{LABELLED} lacks {name}: {said}" for name, said in _LACKING.items() if name not in tables]
    if not source.listed:
        notes.append(f"{SPLITS} is not there: pictures have no official part")
    elif without := sum(item.split is None for item in items):
        notes.append(f"{SPLITS} gives {without} pictures no part")
    return Made(items=items, root=out, refused=source.refused, report=report, notes=[*source.below.notes(), *notes])


def hdf5() -> Any:
    """Return h5py.

    Raises:
        UsageError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise UsageError(
            f"MATLAB 7.3 files need h5py, which cannot be imported ({error}): pip install 'coview[hdf5]'"
        ) from error


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Yield an HDF5 file that is open for reading.

    Raises:
        UsageError: h5py is not installed, or the file is no HDF5.
    """
    h5py = hdf5()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read as MATLAB 7.3, which is HDF5 ({error}). {WHERE}") from error
    with file:
        yield file


class _Tables:
    """The arrays of the labelled file, read by row; only what the file itself holds, no links out of it.

    Raises:
        UsageError: pictures or depth are missing, or an array has another form.
    """

    def __init__(self, file: Any, path: Path) -> None:
        self._file, self._path = file, path
        self._plain = importlib.import_module("h5py").HardLink
        self._arrays = {name: self._own(name) for name in ("images", *_LACKING) if name in file}
        if "images" not in self or not {"rawDepths", "depths"} & set(self._arrays):
            raise UsageError(f"{path}: expected images, and rawDepths or depths; found {', '.join(file)}. {WHERE}")
        self.count, _, wide, high = self._shape("images", "u", 4)
        images = self._arrays["images"]
        if images.dtype.itemsize != 1 or images.shape[1] != 3 or not images.size:
            raise self._wrong("images", "three colours, 0 to 255, of pictures (N, 3, W, H)")
        if max(high, wide) > _MOST_SIDE or self.count > _MOST_PICTURES:
            raise self._wrong("images", f"at most {_MOST_PICTURES} pictures of {_MOST_SIDE} pixels a side")
        for name, kind in (("rawDepths", "f"), ("depths", "f"), ("labels", "u")):
            if name in self and self._shape(name, kind, 3) != (self.count, wide, high):
                raise self._wrong(name, f"the size of the pictures, ({self.count}, {wide}, {high})")
        self._cut = _COVERED if (high, wide) == _SIZE else (slice(None), slice(None))
        self._names, self._kinds, self._scenes = (self._words(name) for name in ("names", "sceneTypes", "scenes"))
        if any(words and len(words) != self.count for words in (self._kinds, self._scenes)):
            raise self._wrong("scenes and sceneTypes", f"a word for each of {self.count} pictures")

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def picture(self, row: int) -> tuple[NDArray[np.uint8], Mapping[str, NDArray[np.float32]]]:
        """Return colours (H, W, 3) and the maps of depth (H, W) in metres by track."""
        colours = np.ascontiguousarray(self._arrays["images"][row].transpose(2, 1, 0)[self._cut])
        measured = "rawDepths" if "rawDepths" in self else "depths"
        maps = {"depth": self._map(measured, row)}
        return colours, maps | (
            {"filled": self._map("depths", row)} if {"rawDepths", "depths"} <= set(self._arrays) else {}
        )

    def about(self, row: int) -> dict[str, Any]:
        """Return label, labels and group of an item, as far as the file says."""
        found: dict[str, Any] = {"label": self._kinds[row]} if self._kinds else {}
        if self._scenes:
            found["group"] = self._scenes[row]
        if self._names and "labels" in self:
            seen = set(np.unique(self._map("labels", row)).tolist())
            found["labels"] = {name: 1 if number in seen else -1 for number, name in enumerate(self._names, start=1)}
        return found

    def _map(self, name: str, row: int) -> Any:
        return self._arrays[name][row].T[self._cut]

    def _own(self, name: str) -> Any:
        array = self._file[name] if isinstance(self._file.get(name, getlink=True), self._plain) else None
        if array is None or not hasattr(array, "shape") or array.external or array.is_virtual:
            raise self._wrong(name, "an array of this file's own")
        return array

    def _shape(self, name: str, kind: str, axes: int) -> Sequence[int]:
        array = self._arrays[name]
        if array.dtype.kind != kind or array.ndim != axes or (kind == "u" and array.dtype.itemsize > 2):
            raise self._wrong(name, f"{'depths in metres' if kind == 'f' else 'small whole numbers'} on {axes} axes")
        shape: Sequence[int] = array.shape
        return shape

    def _words(self, name: str) -> list[str]:
        """Return the words of a list of references to arrays of characters; none where the list is not there."""
        if name not in self:
            return []
        try:
            return [self._word(reference) for reference in np.ravel(self._arrays[name][()])]
        except (TypeError, ValueError, KeyError, AttributeError, OSError) as error:
            raise self._wrong(name, f"references to words ({error})") from error

    def _word(self, reference: Any) -> str:
        letters = self._file[reference]
        if "MATLAB_empty" in letters.attrs:
            return ""
        if letters.dtype != np.uint16 or letters.size > _MOST_LETTERS or letters.external or letters.is_virtual:
            raise ValueError(f"{letters.size} of {letters.dtype} are no word")
        return np.ravel(letters[()]).astype("<u2").tobytes().decode("utf-16-le", "replace")

    def _wrong(self, name: str, expected: str) -> UsageError:
        return UsageError(f"{self._path}: {name} is not as published: expected {expected}. {WHERE}")


def _parts(source: Download, count: int) -> dict[int, str]:
    """Return the part of every picture's number in the official split file; none without one."""
    if not any(sorted(source.root.glob(place)) for place in (SPLITS, f"*/{SPLITS}")):
        return {}
    parts: dict[int, str] = {}
    for variable, part in _PARTS.items():
        for number in source.numbers(SPLITS, variable).tolist():
            if not 1 <= number <= count or number in parts:
                source.bad_line(part, str(number), f"the number of a picture, 1 to {count}, once")
                continue
            source.listed[part] += 1
            parts[number] = part
    return parts
