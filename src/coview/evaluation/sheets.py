"""What a model makes of held-out pictures, beside the truth, for the report."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from coview.data.source import Source
from coview.data.views import cut_from
from coview.errors import UsageError
from coview.painting.files import sheet
from coview.painting.painter import Hole, Painter, Picture, as_picture, as_tensor
from coview.randomness import make_key, normal, uniform

if TYPE_CHECKING:
    from coview.model import Model

COUNT = 8  # pictures of a report
_NOISE = 0.1  # deviation of the noise that is put on pictures, of full scale
_STREAM = 7600  # of a picture's key: its noise

Sheet = list[tuple[str, str]]  # captions and small pictures, as data URIs


def paint_held_out(model: Model, source: Source, seed: int = 0) -> tuple[str, list[Sheet]]:
    """Return what the model makes of pictures, and sheets of some of a source's, drawn by the seed; "", [] for nothing.

    A picture whose colour is made shows the truth where it has colour. The hole that is filled is the square in the
    middle, a quarter of the area; the noise that is removed is normal, a tenth of full scale.
    """
    try:
        painter = Painter(model)
    except UsageError:
        return "", []
    name = cut_from(model.method.canvas(), painter.view)
    if name not in source.views:
        return "", []
    chosen = torch.argsort(uniform(make_key(seed, torch.arange(len(source))), 2), stable=True)[:COUNT].sort().values
    batch = source.read_window(chosen, 0, 1)
    keys = make_key(seed, chosen)
    sheets = []
    for raw, key, there in zip(batch.views[name], keys, batch.present[name], strict=True):
        if there:
            true = np.ascontiguousarray(raw[:, raw.shape[1] // 2].permute(1, 2, 0).numpy())
            given = _noisy(true, key) if painter.paints == "noise" else true
            hole = _middle(true) if painter.paints == "holes" else None
            shown = sheet(painter.paints, given, painter.paint(given, hole), hole)
            more = [("as it was", true)] if painter.paints == "noise" else []
            sheets.append([(caption, as_uri(small)) for caption, small in [*shown, *more]])
    return painter.paints, sheets


def _noisy(picture: Picture, key: torch.Tensor) -> Picture:
    values = as_tensor(picture).float() / 255
    return np.ascontiguousarray(as_picture(values + _NOISE * normal(key, _STREAM, *values.shape[1:])))


def _middle(picture: Picture) -> Hole:
    hole, (height, width) = np.zeros(picture.shape[:2], dtype=bool), picture.shape[:2]
    hole[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = True
    return hole


def as_uri(picture: Picture) -> str:
    """Return a picture uint8 (H, W, 3) as a JPEG data URI."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
