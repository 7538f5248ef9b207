"""Flowers-102 (Nilsback & Zisserman, ICVGIP 2008): flowers of 102 kinds, parts and labels in MATLAB files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

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
_MOST_BYTES = 1 << 24


def make(out: Path, options: Options) -> Made:
    """Return the items; the files number the kinds of flowers and do not name them: the label is such as "001".

    Raises:
        UsageError: unknown variant, a file is missing or damaged, or no picture at all.
    """
    if options.variant:
        raise UsageError(f"flowers102:{options.variant}: expected flowers102")
    download = Download("flowers102", options, WHERE)
    labels = _numbers(download, "imagelabels.mat", "labels")
    pictures = {path.name: path for path in download.below.files}
    for variable, part in _PARTS.items():
        for number in _numbers(download, "setid.mat", variable).tolist():
            if not 1 <= number <= len(labels):
                download.bad_line(part, str(number), f"the number of a picture, 1 to {len(labels)}")
                continue
            name = f"image_{number:05d}.jpg"
            item = {"id": name, "label": f"{labels[number - 1]:03d}", "split": part}
            download.add(part, pictures.get(name), name, item)
    download.listed["classes"] = len(np.unique(labels))
    return download.made(OFFICIAL, options)


def _numbers(download: Download, name: str, variable: str) -> NDArray[np.int64]:
    """Return a variable of a MATLAB file as whole numbers (N,).

    Raises:
        UsageError: the file is not there, or holds something else.
    """
    found = sorted(download.root.glob(name)) + sorted(download.root.glob(f"*/{name}"))
    if not found:
        raise UsageError(f"{download.name}: {download.root} lacks {name}. {WHERE}")
    try:
        if found[0].stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB")
        values: Any = np.asarray(loadmat(found[0], variable_names=[variable])[variable])
        if values.dtype.kind not in "iuf" or not values.size or not np.array_equal(values, np.floor(values)):
            raise ValueError(f"{variable!r} is {values.dtype} {values.shape}, no whole numbers")
    except Exception as error:  # whatever a parser makes of a damaged file
        raise UsageError(f"{found[0]}: cannot be read ({type(error).__name__}: {error}). {WHERE}") from error
    numbers: NDArray[np.int64] = values.ravel().astype(np.int64)
    return numbers
