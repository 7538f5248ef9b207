"""Made shapes as a named data set: `coview index shapes -o ...` writes pictures, boxes and masks in VOC's layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from coview.data.adapters import Made, Options
from coview.data.adapters import voc as layout
from coview.data.synthetic.shapes import ShapesWorld
from coview.data.synthetic.voc_layout import Part, write_voc
from coview.errors import UsageError

_USUAL, _LEAST = 700, 7  # pictures: of seven, one is for validation and two for tests


def make(out: Path, options: Options) -> Made:
    """Render pictures of `data.synthetic.shapes` and return them as `voc` does.

    Raises:
        UsageError: a folder or a variant was given, or too few pictures.
    """
    if options.folder is not None or options.variant:
        raise UsageError("shapes makes its own files and has no variants: leave out folder and variant")
    count = _USUAL if options.count is None else options.count
    if count < _LEAST:
        raise UsageError(f"shapes needs at least {_LEAST} pictures, found {count}")
    counts: dict[Part, int] = {"val": count // 7, "test": 2 * count // 7}
    counts["train"] = count - sum(counts.values())
    parts = {part: ShapesWorld(layout.PARTS[part], number, options.seed) for part, number in counts.items()}
    write_voc(parts, out / "VOC")
    made = layout.make(out, dataclasses.replace(options, folder=out / "VOC", count=None))
    return dataclasses.replace(made, report={"world": "shapes", "seed": options.seed, "pictures": dict(counts)})
