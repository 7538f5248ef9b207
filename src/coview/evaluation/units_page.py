"""units.html: what single units look for, a map of the recordings, and what is found for some of them, on one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.augment.video import centre_crop
from coview.data.source import Source
from coview.data.views import cut_from
from coview.embedding.extract import extract_locally
from coview.encoders import Encoder
from coview.evaluation.exhibits import embedding_map
from coview.evaluation.figures import scatter
from coview.evaluation.grid import draw_grid
from coview.evaluation.receptive import Box, seen_by
from coview.evaluation.report import render
from coview.evaluation.sheets import as_uri
from coview.evaluation.statistics import Measurement
from coview.evaluation.units import TOP, Units
from coview.evaluation.wording import in_words, plain_view
from coview.files import write_aside
from coview.model import Model
from coview.randomness import make_key, uniform

SHOWN = 6  # pictures of a unit
UNITS = 48  # on the page, detectors first
MAPPED = 500  # recordings on the map and in the searches, drawn by the seed
SIDE = 128  # pixels of a picture
_DIM = 0.3  # brightness of what the unit does not see


@dataclass(frozen=True)
class Unit:
    """A unit to look at: its number, the class of its top pictures, if any, and (picture, class, id) of the top."""

    number: int
    label: str
    share: float
    detector: bool
    pictures: list[tuple[str, str, str]]


def write_units(
    model: Model, source: Source, seen: Units, page: Path, results: Sequence[Measurement], *, seed: int = 0
) -> int:
    """Write the page, and return how many units are on it."""
    shown = _order(seen)[:UNITS]
    drawn = _pictures(model, source, seen, shown)
    label = [seen.features.classes[one] if one >= 0 else "" for one in seen.label]
    labelled = bool((seen.features.labels >= 0).any())
    made = [Unit(unit, label[unit], float(seen.share[unit]), bool(seen.detectors[unit]), drawn[unit]) for unit in shown]
    rows = torch.argsort(uniform(make_key(seed, torch.arange(len(source))), 1), stable=True)[:MAPPED].sort().values
    features = extract_locally(model, source, rows)
    there = torch.nonzero(features.present[seen.view]).flatten()
    points, labels = embedding_map(features, seen.view)
    words = plain_view(seen.view)
    html = render(
        "units.html.jinja", name=model.method.about.slug, collection=source.name, view=words, stage=seen.stage,
        units=made, count=len(seen.label), top=TOP, labelled=labelled, pictures=len(seen.features),
        never=int((seen.peak[:, 0] <= 0).sum()), results=[(in_words(m), m) for m in results],
        map=Markup(scatter(points, labels, features.classes, words)), mapped=len(points),
        sheet=_as_png(draw_grid(features, source, seen.view, seen.view, there, seed)),
    )  # fmt: skip
    page.parent.mkdir(parents=True, exist_ok=True)
    write_aside(page, html)
    return len(made)


def _order(seen: Units) -> list[int]:
    """Return the units that anything excites, detectors first, class by class, the surest first."""
    units = [unit for unit in range(len(seen.label)) if float(seen.peak[unit, 0]) > 0]
    surest = sorted(units, key=lambda unit: (-float(seen.share[unit]), seen.label[unit], unit))
    return sorted(surest, key=lambda unit: not bool(seen.detectors[unit]))


def _pictures(model: Model, source: Source, seen: Units, shown: Sequence[int]) -> dict[int, list[tuple[str, str, str]]]:
    """Return the top pictures of units, dark where the unit does not see them."""
    spec, features = model.views[seen.view], seen.features
    asked = [(unit, rank) for unit in shown for rank in range(SHOWN) if float(seen.peak[unit, rank]) > 0]
    places = [tuple(seen.place[unit, rank].tolist()) for unit, rank in asked]
    each = sorted(set(places))
    boxes = dict(zip(each, seen_by(_encoder(model, seen.view), seen.stage, spec.shape, each), strict=True))
    raw = cut_from(seen.view, spec)
    needed = torch.unique(seen.top[list(shown), :SHOWN])
    frames: dict[int, Tensor] = {}
    for part in torch.split(needed, 64):
        batch = source.read_window(features.rows[part], 0, 1)
        frames |= dict(zip(part.tolist(), centre_crop(batch.views[raw], spec.shape[-1]), strict=True))
    found: dict[int, list[tuple[str, str, str]]] = {unit: [] for unit in shown}
    steps = _steps(model, seen)
    for (unit, rank), place in zip(asked, places, strict=True):
        at = int(seen.top[unit, rank])
        film = frames[at]
        moment = (place[0] * 2 + 1) * film.shape[1] // (2 * steps) if len(place) == 3 else film.shape[1] // 2
        one = int(features.labels[at])
        uri = as_uri(_dimmed(film[:, min(moment, film.shape[1] - 1)], boxes[place]).permute(1, 2, 0).numpy())
        found[unit].append((uri, features.classes[one] if one >= 0 else "", features.ids[at]))
    return found


def _encoder(model: Model, view: str) -> Encoder:
    return cast(Encoder, model.method.encoders[view])


def _steps(model: Model, seen: Units) -> int:
    """Return how many moments the maps of a stage have."""
    if seen.place.shape[2] < 3:
        return 1
    shape = model.views[seen.view].shape
    with torch.no_grad(), model.evaluating():
        maps = _encoder(model, seen.view).feature_maps(torch.zeros(1, *shape, device=model.device))
    return int(maps[seen.stage].shape[2])


def _dimmed(picture: Tensor, box: Box) -> Tensor:
    """Return a picture uint8 (3, H, W) as wide as it is shown, dark outside of a box, whose edge is drawn."""
    top, left, bottom, right = box
    bright = torch.full(picture.shape[1:], _DIM)
    bright[top:bottom, left:right] = 1.0
    scale = SIDE / picture.shape[-1]
    light = interpolate((picture.float() * bright)[None], size=(SIDE, SIDE), mode="nearest-exact")[0]
    a, b, c, d = round(top * scale), round(left * scale), round(bottom * scale) - 1, round(right * scale) - 1
    for rows, columns in ((slice(a, a + 1), slice(b, d + 1)), (slice(c, c + 1), slice(b, d + 1)),
                          (slice(a, c + 1), slice(b, b + 1)), (slice(a, c + 1), slice(d, d + 1))):  # fmt: skip
        light[:, rows, columns] = 255.0
    return light.round().clamp(0, 255).to(torch.uint8).contiguous()


def _as_png(picture: Tensor) -> str:
    """Return a picture float32 (3, H, W) in [0, 1] as a data URI."""
    content = io.BytesIO()
    Image.fromarray((picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
