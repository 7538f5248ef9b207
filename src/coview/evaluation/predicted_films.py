"""Films of predictions to look at: what came, what was predicted, its masks and its flow, as GIFs on a page."""

from __future__ import annotations

import base64
import colorsys
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from coview.data.source import Source
from coview.errors import shown
from coview.evaluation.prediction import complete, predicted, predictor_of
from coview.evaluation.report import render
from coview.files import write_aside
from coview.methods.predictor import Prediction
from coview.model import Model

Frames = NDArray[np.uint8]  # (T, H, W, 3)
_SIDE = 128  # pixels of a film on the page, about
_PAUSE = 400  # milliseconds that a picture stays


def write_films(model: Model, test: Source, page: Path, count: int) -> int:
    """Write a page of the first `count` complete recordings of a source; return how many there are."""
    method = predictor_of(model)
    rows: list[dict[str, Any]] = []
    for block in torch.split(torch.arange(len(test)), 4 * count):
        batch = test.read_window(block, 0, 1)
        batch = batch.select(complete(batch)).select(slice(count - len(rows)))
        if len(batch):
            found = predicted(model, batch)
            rows += [
                {"name": shown(test.ids[row]), "pictures": [(text, as_gif(film)) for text, film in films(found, at)]}
                for at, row in enumerate(batch.row.tolist())
            ]
        if len(rows) == count:
            break
    legend = [(name, _hex(colour)) for name, colour in zip(method.layers, _palette(len(method.layers)), strict=True)]
    html = render("predicted.html.jinja", model=model.method.about.slug, rows=rows, legend=legend)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_aside(page, html)
    return len(rows)


def films(found: Prediction, at: int) -> list[tuple[str, Frames]]:
    """Return captions and films of sample `at`; the first picture of each is the last that was shown."""
    last = found.last[at, :, None]
    masks = mask_colours(found.masks[at])
    flow = flow_colours(found.flow[at])
    still = torch.zeros_like(masks[:, :1])
    return [
        ("what came", _frames(torch.cat([last, found.true[at]], 1))),
        ("predicted", _frames(torch.cat([last, found.made[at]], 1))),
        ("masks", _frames(torch.cat([still, masks], 1))),
        ("flow", _frames(torch.cat([still, flow], 1))),
    ]


def mask_colours(masks: Tensor) -> Tensor:
    """Return (3, T, H, W) in [0, 1]: every layer's colour, mixed by masks (K, T, H, W); the first one's is black."""
    return torch.einsum("kthw,kc->cthw", masks.cpu(), torch.tensor(_palette(len(masks))))


def flow_colours(flow: Tensor) -> Tensor:
    """Return (3, T, H, W) in [0, 1] of a flow (2, T, H, W): the hue is the direction, brightness the length.

    Full brightness is the longest of the film, at least one pixel.
    """
    x, y = flow.cpu()
    length = torch.sqrt(x**2 + y**2)
    angle = torch.atan2(y, x)
    turns = torch.tensor([0.0, 2 * torch.pi / 3, 4 * torch.pi / 3])[:, None, None, None]
    return (0.5 + 0.5 * torch.cos(angle - turns)) * (length / length.max().clamp_min(1.0))


def as_gif(frames: Frames) -> str:
    """Return frames as an animated GIF that begins anew at its end, a data URI."""
    scale = max(1, round(_SIDE / frames.shape[2]))
    size = (frames.shape[2] * scale, frames.shape[1] * scale)
    first, *others = [Image.fromarray(frame).resize(size, Image.Resampling.NEAREST) for frame in frames]
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, duration=_PAUSE, loop=0)
    return "data:image/gif;base64," + base64.b64encode(content.getvalue()).decode()


def _frames(film: Tensor) -> Frames:
    values = (film.cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(values.permute(1, 2, 3, 0).numpy())


def _palette(count: int) -> list[tuple[float, float, float]]:
    """Return a colour for each layer: black for the picture before, hues for the others."""
    return [(0.0, 0.0, 0.0), *(colorsys.hsv_to_rgb(k / max(count - 1, 1), 0.8, 1.0) for k in range(count - 1))]


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * value):02x}" for value in colour)
