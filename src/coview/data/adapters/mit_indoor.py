"""MIT Indoor (Quattoni & Torralba, CVPR 2009): indoor scenes of 67 classes, 80 and 20 pictures of each by the lists."""

from __future__ import annotations

import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "Pictures (indoorCVPR_09.tar) and lists (TrainImages.txt, TestImages.txt) are at "
    "https://web.mit.edu/torralba/www/indoor.html; the folder holds the two lists and the pictures as they call them, "
    "such as kitchen/int474.jpg, below Images/ or not."
)
OFFICIAL = {"train": 5360, "test": 1340, "classes": 67}


def make(out: Path, options: Options) -> Made:
    """Return the items; the label is the scene, such as "kitchen". Pictures in neither list are not used.

    Raises:
        UsageError: unknown variant, a list is missing, or no file at all.
    """
    if options.variant:
        raise UsageError(f"mit-indoor:{options.variant}: expected mit-indoor")
    download = Download("mit-indoor", options, WHERE)
    pictures = {"/".join(path.parts[-2:]): path for path in download.below.files}
    classes = set()
    for part in ("train", "test"):
        for line in download.lines(f"{part.capitalize()}Images.txt"):
            if not re.fullmatch(r"[^/]+/[^/]+\.\w+", line):
                download.bad_line(part, line, "a path such as kitchen/int474.jpg")
                continue
            label = line.partition("/")[0]
            classes.add(label)
            download.add(part, pictures.get(line), line, {"id": line, "label": label, "split": part})
    download.listed["classes"] = len(classes)
    return download.made(OFFICIAL, options)
