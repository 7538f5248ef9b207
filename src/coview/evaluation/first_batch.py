"""The first batch of a run for the report: sheets of pictures, and sounds with their spectrograms."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from coview.evaluation.spectrogram import bands
from coview.evaluation.wording import plain_view

_WIDTH = 1100  # pixels of a shown sheet, at most
_SOUNDS = 4  # shown
_SOUND_LIMIT = 150_000  # bytes of one of them


def first_batch(folder: Path) -> dict[str, Any]:
    """Return what a run's folder of samples holds.

    `sheets`: (name, data URI, width on the page) of each sheet of pictures. `sounds`: of some sounds the figure of the
    spectrogram that the method was given, and the sound itself as a data URI.
    """
    sheets, sounds = list[tuple[str, str, int]](), list[tuple[Markup, str]]()
    for file in sorted(folder.glob("*.png")):
        heard = sorted(folder.glob(f"{file.stem}-*.wav"))
        if heard:
            sounds += [shown for shown in _sounds(file, heard) if len(sounds) < _SOUNDS]
        else:
            sheets.append((plain_view(file.stem), *sheet_of(file)))
    return {"sheets": sheets, "sounds": sounds}


def _sounds(sheet: Path, heard: Sequence[Path]) -> list[tuple[Markup, str]]:
    """Return the rows of a sheet of spectrograms, each with its axes and its sound, of those that are short."""
    with Image.open(sheet) as stored:
        picture = stored.convert("L")
    height, made = picture.height // len(heard), list[tuple[Markup, str]]()
    for row, file in enumerate(heard[:_SOUNDS]):
        content = file.read_bytes()
        if len(content) < _SOUND_LIMIT:
            with wave.open(io.BytesIO(content)) as sound:
                seconds = sound.getnframes() / sound.getframerate()
            image = np.asarray(picture.crop((0, row * height, picture.width, (row + 1) * height)))
            uri = "data:audio/wav;base64," + base64.b64encode(content).decode()
            made.append((Markup(bands(image, seconds)), uri))
    return made


def sheet_of(file: Path) -> tuple[str, int]:
    """Return a picture as a JPEG data URI, no wider than `_WIDTH` pixels, and its width on the page."""
    with Image.open(file) as stored:
        picture = stored.convert("RGB")
    picture.thumbnail((_WIDTH, 4 * _WIDTH))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    uri = "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
    return uri, picture.width * (2 if picture.width <= _WIDTH // 4 else 1)
