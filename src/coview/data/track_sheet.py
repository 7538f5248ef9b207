"""A sheet of tracks to look at: the first and the last patch of each beside each other, with film and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from coview.errors import shown
from coview.files import written_whole

_SIDE, _LINE, _ACROSS, _MOST = 112, 14, 4, 40  # pixels of a patch and of a caption; pairs in a row and in all


def write_sheet(path: Path, tracks: Sequence[tuple[str, Path, Path]]) -> None:
    """Write a JPEG of up to 40 tracks, evenly taken from all: each a caption, its first and its last patch."""
    places = np.linspace(0, len(tracks) - 1, min(len(tracks), _MOST)).round().astype(int)
    chosen = [tracks[place] for place in places]
    width, height = 2 * _SIDE + 8, _SIDE + _LINE + 4
    sheet = Image.new("RGB", (min(_ACROSS, len(chosen)) * width, -(-len(chosen) // _ACROSS) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (caption, *patches) in enumerate(chosen):
        left, top = number % _ACROSS * width, number // _ACROSS * height
        draw.text((left, top), shown(caption)[-36:], fill="black")
        for place, patch in enumerate(patches):
            with Image.open(patch, formats=("JPEG",)) as picture:
                sheet.paste(picture.resize((_SIDE, _SIDE)), (left + place * (_SIDE + 2), top + _LINE))
    with written_whole(path) as aside:
        sheet.save(aside, "JPEG", quality=90)
