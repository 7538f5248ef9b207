"""PASCAL VOC (Everingham et al., IJCV 2010) of 2007 and 2012, and any other set in its layout.

The folder is VOCdevkit/, one above it, or the year's own: JPEGImages/ID.jpg, Annotations/ID.xml, ImageSets/Main/ with
the parts and a list of every class (1 present, -1 absent, 0 only in difficult instances), ImageSets/Segmentation/ and
SegmentationClass/ID.png. A recording's `labels` are the lists' numbers, its track "objects" is the XML, "mask" the PNG.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "VOCtrainval and VOCtest of a year are at http://host.robots.ox.ac.uk/pascal/VOC/; unpacked into one place they "
    "make VOCdevkit/VOC2007/ or VOCdevkit/VOC2012/ with JPEGImages/, Annotations/, ImageSets/ and SegmentationClass/."
)
CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
PARTS = {"train": "train", "val": "validation", "test": "test"}
VARIANTS = ("", "trainval", "segmentation", "segmentation-trainval")
# Year -> list -> pictures in each part.
OFFICIAL = {
    2007: {"Main": (2501, 2510, 4952), "Segmentation": (209, 213, 210)},
    2012: {"Main": (5717, 5823, 10991), "Segmentation": (1464, 1449, 1456)},
}


def make_2007(out: Path, options: Options) -> Made:
    """Return the items of 2007; see `make`."""
    return _made("voc2007", options, 2007)


def make_2012(out: Path, options: Options) -> Made:
    """Return the items of 2012, whose test part has no public truth; see `make`."""
    return _made("voc2012", options, 2012)


def make(out: Path, options: Options) -> Made:
    """Return the items of a set in this layout, whatever its classes.

    Variants: "" has the parts train, validation (val) and test; "trainval" learns from both train and val;
    "segmentation" and "segmentation-trainval" are the same of the pictures with masks.

    Raises:
        UsageError: unknown variant, a list is missing, or no file at all.
    """
    return _made("voc", options, None)


def _made(name: str, options: Options, year: int | None) -> Made:
    if options.variant not in VARIANTS:
        known = ", ".join(f"{name}:{variant}" for variant in VARIANTS[1:])
        raise UsageError(f"{name}:{options.variant}: expected {name}, {known}")
    kind = "Segmentation" if options.variant.startswith("segmentation") else "Main"
    download = Download(name, dataclasses.replace(options, folder=_year(name, options.folder, year)), WHERE)
    there = set(map(Path.as_posix, download.below.files))
    lists = Path("ImageSets", kind)
    parts = [part for part in PARTS if part != "test" or f"{lists}/test.txt" in there]  # a download of its own
    labels = _labels(download, there, CLASSES if year else None)
    for part in parts:
        split = "train" if options.variant.endswith("trainval") and part == "val" else PARTS[part]
        for line in download.lines(f"{lists}/{part}.txt"):
            if not re.fullmatch(r"[\w-]+", line.strip()):
                download.bad_line(part, line, "the name of a picture, such as 000005")
                continue
            picture = line.strip()
            files = {"objects": f"Annotations/{picture}.xml", "mask": f"SegmentationClass/{picture}.png"}
            truth = part != "test" or year != 2012
            wanted = [track for track in files if truth and (track == "objects" or kind == "Segmentation")]
            tracks = {track: Path(file) for track, file in files.items() if file in there or track in wanted}
            path = Path(f"JPEGImages/{picture}.jpg")
            item = {"id": picture, "split": split, "tracks": tracks, "labels": labels.get(picture, {})}
            download.add(part, path if path.as_posix() in there else None, path.as_posix(), item)
    counts = dict(zip(PARTS, OFFICIAL[year][kind], strict=True)) if year else {}
    return download.made(counts, options)


def _year(name: str, folder: Path | None, year: int | None) -> Path | None:
    """Return the folder that holds ImageSets/: the given one or one of a year below it."""
    if folder is None or not folder.is_dir():
        return folder  # `Download` says so
    own = f"VOC{year}" if year else "VOC*"
    for place in ("", own, f"VOCdevkit/{own}", f"*/VOCdevkit/{own}"):
        found = sorted(path for path in folder.glob(place) if (path / "ImageSets").is_dir()) if place else [folder]
        if found and (found[0] / "ImageSets").is_dir():
            return found[0]
    raise UsageError(f"{name}: neither {folder} nor {own} below it has a folder ImageSets. {WHERE}")


def _labels(download: Download, there: set[str], known: tuple[str, ...] | None) -> Mapping[str, dict[str, int]]:
    """Return picture -> class -> 1, 0 or -1, as far as there are lists of classes; `known` are the official ones."""
    names: dict[str, list[str]] = defaultdict(list)
    for file in sorted(there):
        if match := re.fullmatch(r"ImageSets/Main/(.+)_(train|val|test)\.txt", file):
            names[match[1]].append(file)
    if missing := set(known or ()) - set(names):
        lists = ", ".join(f"{name}_train.txt" for name in sorted(missing))
        raise UsageError(f"{download.name}: {download.root}/ImageSets/Main lacks {lists}. {WHERE}")
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name in sorted(set(known or names)):
        for file in names[name]:
            for line in download.lines_of(download.root / file):
                if match := re.fullmatch(r"\s*([\w-]+)\s+(1|0|-1)", line):
                    found[match[1]][name] = int(match[2])
                else:
                    download.bad_line(Path(file).name, line, "the name of a picture and 1, 0 or -1")
        download.listed["classes"] += 1
    return found
