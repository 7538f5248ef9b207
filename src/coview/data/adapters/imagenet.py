"""ImageNet of ILSVRC 2012 (Russakovsky et al., IJCV 2015): 1,000 classes by WordNet id, folders of JPEG.

train/WNID/*.JPEG and val/, either in folders of WNIDs too, or all in one with the ground truth beside it: Kaggle's
LOC_val_solution.csv, or the development kit's list of numbers with map_clsloc.txt or meta.mat, which say what they are.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from scipy.io import loadmat

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "ILSVRC2012_img_train.tar (and the tars inside it), ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz are at "
    "https://www.image-net.org/ for those who have signed; the folder holds train/WNID/*.JPEG and val/."
)
OFFICIAL = {"train": 1281167, "val": 50000, "classes": 1000}
WNID = r"n[0-9]{8}"
_SPLITS = {"train": "train", "val": "test"}  # the test part has no public truth: published figures are of val
_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def make(out: Path, options: Options) -> Made:
    """Return the items; the label is the WordNet id; the official val part is the part "test".

    Raises:
        UsageError: unknown variant, a folder or the ground truth is missing, or no file at all.
    """
    if options.variant:
        raise UsageError(f"imagenet:{options.variant}: expected imagenet")
    root = options.folder
    if root is not None and not (root / "train").is_dir() and (root / "Data/CLS-LOC/train").is_dir():
        root = root / "Data/CLS-LOC"  # as Kaggle's archive
    download = Download("imagenet", dataclasses.replace(options, folder=root), WHERE)
    truth: dict[str, str] | None = None
    for part, split in _SPLITS.items():
        files = [path for path in download.below.files if path.parts[0] == part]
        if not files:
            raise UsageError(f"imagenet: {download.root} lacks the folder {part}. {WHERE}")
        for path in files:
            label: str | None = path.parts[1] if len(path.parts) == 3 else None
            if path.suffix != ".JPEG":
                download.bad_line(part, path.as_posix(), "pictures called *.JPEG")
                continue
            if label is None and part == "val":
                truth = _truth(download, options.folder or download.root) if truth is None else truth
                label = truth.get(path.stem)
            if label is None or not re.fullmatch(WNID, label):
                expected = "a folder called by its WordNet id, such as n01440764, or a line of the ground truth"
                download.bad_line(part, path.as_posix(), expected)
                continue
            item = {"id": f"{part}/{label}/{path.stem}", "label": label, "split": split}
            download.add(part, path, path.as_posix(), item)
    for stem in sorted(set(truth or ()) - {path.stem for path in download.below.files if path.parts[0] == "val"}):
        download.add("val", None, f"val/{stem}.JPEG", {"id": stem})
    download.listed["classes"] = len({item.label for item in download.items})
    return download.made(OFFICIAL, options)


def _truth(download: Download, top: Path) -> dict[str, str]:
    """Return picture of val -> WordNet id, from the first of the files that is there."""
    solution = _find(top, "LOC_val_solution.csv")
    if solution is not None:
        found = {}
        for line in download.lines_of(solution)[1:]:
            if match := re.match(rf"(ILSVRC2012_val_[0-9]+),({WNID}) ", line):
                found[match[1]] = match[2]
            else:
                download.bad_line("val", line, "a picture, a comma and a WordNet id")
        return found
    numbers, names = _find(top, _TRUTH), _find(top, "map_clsloc.txt") or _find(top, "meta.mat")
    if numbers is None or names is None:
        lacking = _TRUTH if numbers is None else "map_clsloc.txt or meta.mat, which says what its numbers are,"
        raise UsageError(
            f"imagenet: val has no folders of classes, and {top} lacks {lacking} (or LOC_val_solution.csv). {WHERE}"
        )
    wnids = _wnids(names)
    found = {}
    for number, said in enumerate(numbers.read_bytes().splitlines(), start=1):  # a line's place is its picture
        wnid = wnids.get(int(said)) if said.strip().isdigit() and len(said) < 9 else None
        if wnid is None:
            download.bad_line("val", f"{_TRUTH}, line {number}: {said!r}", f"a number from 1 to {len(wnids)}")
        else:
            found[f"ILSVRC2012_val_{number:08d}"] = wnid
    return found


def _find(top: Path, name: str) -> Path | None:
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        if found := sorted(top.glob(pattern)):
            return found[0]
    return None


def _wnids(path: Path) -> dict[int, str]:
    """Return number of the development kit -> WordNet id."""
    try:
        if path.suffix == ".txt":
            rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return {int(row[1]): row[0] for row in rows}
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if not row["num_children"]}
    except Exception as error:  # whatever a parser makes of a damaged file
        raise UsageError(
            f"{path}: cannot be read as the development kit's list of classes: {error}. {WHERE}"
        ) from error
