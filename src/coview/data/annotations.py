"""Truth beside pictures: objects in VOC's XML, and the class of every pixel in a PNG of numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coview.errors import MediaError, UsageError
from coview.files import read_text
from coview.media.container import MAX_PIXELS

_MOST_BYTES = 1 << 22  # of an annotation: a thousand objects are a few hundred kilobytes


class Annotation(NamedTuple):
    """What an XML file says: (width, height), boxes float32 (n, 4) as in `scenes`, names of classes, difficult (n,)."""

    size: tuple[int, int]
    boxes: Tensor
    names: list[str]
    difficult: Tensor


def read_annotation(path: Path) -> Annotation:
    """Read an annotation of VOC; its corners count from 1 and belong to the box, which ours begin from 0 and leave out.

    Raises:
        MediaError: "damaged": it is no such XML; "outside": a box is empty or reaches out of the picture by more than
            a pixel (what is less is cut).
    """
    try:
        tree = ElementTree.fromstring(read_text(path, "an annotation of objects", limit=_MOST_BYTES))
        size = (_number(tree, "size/width"), _number(tree, "size/height"))
        objects = tree.findall("object")
        corners = ("xmin", "ymin", "xmax", "ymax")
        rows = [[_number(one, f"bndbox/{corner}") for corner in corners] for one in objects]
        names = [(one.findtext("name") or "").strip() for one in objects]
        difficult = [(one.findtext("difficult") or "0").strip() == "1" for one in objects]
    except (UsageError, ElementTree.ParseError, ValueError) as error:
        raise MediaError(str(path), "damaged", f"it is no annotation of objects in VOC's form: {error}") from error
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4) - torch.tensor([1.0, 1, 0, 0])
    width, height = (round(side) for side in size)
    edge = torch.tensor([width, height] * 2, dtype=torch.float32)
    cut = torch.minimum(boxes.clamp(min=0), edge)
    wrong = ((boxes - cut).abs() > 1).any(1) | (cut[:, :2] >= cut[:, 2:]).any(1)
    if bool(wrong.any()):
        which = rows[int(wrong.float().argmax())]
        raise MediaError(str(path), "outside", f"the box {which} is empty or not in a picture of {width} x {height}")
    return Annotation((width, height), cut, names, torch.tensor(difficult, dtype=torch.bool))


def _number(tree: ElementTree.Element, name: str) -> float:
    value = float(tree.findtext(name) or "nan")
    if not math.isfinite(value):
        raise ValueError(f"{name} is no number")
    return value


def read_mask(path: Path) -> Tensor:
    """Read the class of every pixel, uint8 (H, W), from a PNG of 8 bits, grey or with a palette; 255 does not count.

    Raises:
        MediaError: "missing", "damaged" or "too-large".
    """
    if not path.is_file():
        raise MediaError(str(path), "missing", "there is no such file; bring it back, or index again")
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MediaError(str(path), "too-large", f"at most {MAX_PIXELS} pixels are read")
            if image.mode not in ("P", "L"):
                raise ValueError(f"a mask has numbers of classes in 8 bits, found mode {image.mode}")
            return torch.from_numpy(np.array(image))
    except MediaError:
        raise
    except Exception as error:  # whatever a parser makes of a damaged file
        raise MediaError(str(path), "damaged", f"it cannot be read as a mask: {error}") from error
