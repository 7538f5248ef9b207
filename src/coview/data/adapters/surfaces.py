"""Made planes and spheres as a named data set: `coview index surfaces -o ...` writes pictures and their depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coview.data.adapters import Item, Made, Options
from coview.data.adapters.depth_files import write_pair
from coview.data.recording import SPLITS, Split
from coview.data.synthetic.surfaces import SurfacesWorld
from coview.errors import UsageError

_USUAL, _LEAST = 700, 7  # pictures: of seven, one is for validation and two for tests


def make(out: Path, options: Options) -> Made:
    """Render pictures of `data.synthetic.surfaces`; the track "depth" is a PNG in millimetres.

    Raises:
        UsageError: a folder or a variant was given, or too few pictures.
    """
    if options.folder is not None or options.variant:
        raise UsageError("surfaces makes its own files and has no variants: leave out folder and variant")
    count = _USUAL if options.count is None else options.count
    if count < _LEAST:
        raise UsageError(f"surfaces needs at least {_LEAST} pictures, found {count}")
    parts: dict[Split, int] = {"validation": count // 7, "test": 2 * count // 7}
    parts["train"] = count - sum(parts.values())
    items: list[Item] = []
    for split in SPLITS:
        world = SurfacesWorld(split, parts[split], options.seed)
        for row, name in enumerate(world.ids):
            picture = np.ascontiguousarray(world.pictures[row].permute(1, 2, 0).numpy())
            path, tracks = write_pair(out, name, picture, {"depth": world.depth[row].numpy()})
            items.append(Item(path=path, id=name, split=split, tracks=tracks))
            options.progress(len(items), count)
    return Made(items=items, root=out, report={"world": "surfaces", "seed": options.seed, "pictures": dict(parts)})
