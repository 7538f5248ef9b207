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
    out: Path, name: str, picture: NDArray[np.uint8], maps: Mapping[str, NDArray[np.float32]]
) -> tuple[Path, Mapping[str, Path]]:
    """Write a picture (H, W, 3) and maps of depth (H, W) in metres below `out`, unless they are there.

    What is unknown (0, not finite) or further than 65.5 metres is 0 in the file. Returns the paths relative to `out`,
    of the picture and of the maps by track.
    """
    path, tracks = Path("pictures", f"{name}.png"), {track: Path(track, f"{name}.png") for track in maps}
    _write(out / path, picture)
    for track, depth in maps.items():
        known = np.isfinite(depth) & (depth > 0) & (depth < _FURTHEST)
        _write(out / tracks[track], np.where(known, np.rint(np.where(known, depth, 0) * 1000), 0).astype(np.uint16))
    return path, tracks


def _write(path: Path, values: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as aside:
            Image.fromarray(values).save(aside, format="PNG")
