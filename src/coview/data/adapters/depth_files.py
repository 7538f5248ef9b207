"""Pictures with depth as files: a PNG of colours, and one of 16 bits with millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coview.files import written_whole

_FURTHEST = 65.535  # metres; what is further is unknown


def write_pair(
    out: Path, name: str, picture: NDArray[np.uint8], depth: NDArray[np.float32]
) -> tuple[Path, Mapping[str, Path]]:
    """Write picture (H, W, 3) and depth (H, W) in metres below `out`, unless they are there; return both, relative.

    What is unknown (0, not finite) or further than 65.5 metres is 0 in the file.
    """
    path, track = Path("pictures", f"{name}.png"), Path("depth", f"{name}.png")
    known = np.isfinite(depth) & (depth > 0) & (depth < _FURTHEST)
    steps = np.where(known, np.rint(np.where(known, depth, 0) * 1000), 0).astype(np.uint16)
    for place, values in ((path, picture), (track, steps)):
        if not (out / place).is_file():
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            with written_whole(out / place) as aside:
                Image.fromarray(values).save(aside, format="PNG")
    return path, {"depth": track}
