"""Made scenes as a folder in VOC's layout, for whatever reads that: `coview index voc --folder FOLDER`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from coview.data.scenes import Objects, Scene, Scenes


def _colour(number: int) -> list[int]:
    """Return the colour of a class as VOC's masks have it: its bits, dealt out to the channels, highest first."""
    return [sum(((number >> (3 * k + channel)) & 1) << (7 - k) for k in range(8)) for channel in range(3)]


_PALETTE = [level for number in range(256) for level in _colour(number)]
Part = Literal["train", "val", "test"]


def write_voc(parts: Mapping[Part, Scenes], folder: Path) -> None:
    """Write scenes with masks below `folder`/JPEGImages, Annotations, SegmentationClass and ImageSets.

    Pictures are JPEG of quality 95. Ids must differ over the parts, which have the same classes.
    """
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for part, scenes in parts.items():
        for kind in ("Main", "Segmentation"):
            _write_lines(folder / f"ImageSets/{kind}/{part}.txt", scenes.ids)
        for number, name in enumerate(scenes.classes):
            present = [_presence(scenes.truth(row), number) for row in range(len(scenes))]
            lines = [f"{one} {value:2d}" for one, value in zip(scenes.ids, present, strict=True)]
            _write_lines(folder / f"ImageSets/Main/{name}_{part}.txt", lines)
        for row, name in enumerate(scenes.ids):
            scene = scenes[row]
            picture = Image.fromarray(np.ascontiguousarray(scene.picture.permute(1, 2, 0).numpy()))
            picture.save(folder / f"JPEGImages/{name}.jpg", quality=95)
            text = _annotation(scene, list(scenes.classes))
            (folder / f"Annotations/{name}.xml").write_text(text, encoding="utf-8")
            if scene.mask is not None:
                mask = Image.fromarray(scene.mask.numpy(), mode="P")
                mask.putpalette(_PALETTE)
                mask.save(folder / f"SegmentationClass/{name}.png")


def _presence(objects: Objects, number: int) -> int:
    """Return 1 where a class is present, 0 where only difficult objects are of it, -1 where it is absent."""
    difficult = objects.difficult[objects.classes == number]
    return -1 if not len(difficult) else 1 - int(difficult.all())


def _annotation(scene: Scene, classes: list[str]) -> str:
    _, height, width = scene.picture.shape
    rows = [f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"]
    for box, number, difficult in zip(*(values.tolist() for values in scene.objects), strict=True):
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, (1, 1, 0, 0), strict=True)
        bounds = "".join(f"<{name}>{value + first:g}</{name}>" for name, value, first in corners)
        name = escape(classes[number])
        rows.append(
            f"<object><name>{name}</name><difficult>{int(difficult)}</difficult><bndbox>{bounds}</bndbox></object>"
        )
    return "<annotation>\n" + "\n".join(rows) + "\n</annotation>\n"


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
