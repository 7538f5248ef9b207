"""SUN397 (Xiao et al., CVPR 2010): scenes in 397 classes, ten official folds of 50 and 50 pictures of each class."""

from __future__ import annotations

import re
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "Pictures (SUN397.tar.gz) and lists (Partitions.zip) are at https://vision.princeton.edu/projects/2010/SUN/; the "
    "folder holds the pictures as the lists call them, such as a/abbey/sun_x.jpg, below SUN397/ or not, and "
    "ClassName.txt, Training_01.txt to Training_10.txt and Testing_01.txt to Testing_10.txt, in Partitions/ or not."
)
FOLDS = 10
_PARTS = {"Training": "train", "Testing": "test"}


def make(out: Path, options: Options) -> Made:
    """Return the items; `split` is that of fold 1, `folds` holds all ten; the label is such as "abbey".

    Raises:
        UsageError: unknown variant, a list is missing, or no file at all.
    """
    if options.variant:
        raise UsageError(f"sun397:{options.variant}: expected sun397")
    download = Download("sun397", options, WHERE)
    classes = {line.strip() for line in download.lines("ClassName.txt")}
    folds: dict[str, list[str]] = {}
    official = {}
    for fold in range(FOLDS):
        for kind, part in _PARTS.items():
            called = f"fold {fold + 1} {part}"
            official[called] = 19850
            for line in download.lines(f"{kind}_{fold + 1:02d}.txt"):
                if not re.fullmatch(r"/[a-z](/[^/]+)+/[^/]+\.\w+", line) or line.rpartition("/")[0] not in classes:
                    download.bad_line(called, line, "a path such as /a/abbey/sun_x.jpg, of a class of ClassName.txt")
                    continue
                download.listed[called] += 1
                folds.setdefault(line[1:], [""] * FOLDS)[fold] = part
    pictures = {_below(path): path for path in download.below.files}
    for name, parts in sorted(folds.items()):
        label = name.partition("/")[2].rpartition("/")[0]
        item = {"id": name, "label": label, "split": parts[0] or None, "folds": tuple(parts)}
        download.add("pictures", pictures.get(name), name, item)
    download.listed["classes"] = len(classes)
    return download.made({"classes": 397, **official}, options)


def _below(path: Path) -> str:
    """Return a picture's name as the lists have it: what comes behind SUN397/."""
    parts = path.parts
    return "/".join(parts[parts.index("SUN397") + 1 :] if "SUN397" in parts else parts)
