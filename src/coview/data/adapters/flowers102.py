"""Flowers-102 (Nilsback & Zisserman, ICVGIP 2008): flowers of 102 kinds, parts and labels in MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "Pictures (102flowers.tgz), labels (imagelabels.mat) and parts (setid.mat) are at "
    "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/; the folder holds the two files, and the pictures, such as "
    "image_00001.jpg, at any depth."
)
OFFICIAL = {"train": 1020, "validation": 1020, "test": 6149, "classes": 102}
_PARTS = {"trnid": "train", "valid": "validation", "tstid": "test"}


def make(out: Path, options: Options) -> Made:
    """Return the items; the files number the kinds of flowers and do not name them: the label is such as "001".

    Raises:
        UsageError: unknown variant, a file is missing or damaged, or no picture at all.
    """
    if options.variant:
        raise UsageError(f"flowers102:{options.variant}: expected flowers102")
    download = Download("flowers102", options, WHERE)
    labels = download.numbers("imagelabels.mat", "labels")
    pictures = {path.name: path for path in download.below.files}
    for variable, part in _PARTS.items():
        for number in download.numbers("setid.mat", variable).tolist():
            if not 1 <= number <= len(labels):
                download.bad_line(part, str(number), f"the number of a picture, 1 to {len(labels)}")
                continue
            name = f"image_{number:05d}.jpg"
            item = {"id": name, "label": f"{labels[number - 1]:03d}", "split": part}
            download.add(part, pictures.get(name), name, item)
    download.listed["classes"] = len(np.unique(labels))
    return download.made(OFFICIAL, options)
