"""What the report shows of a model at work: a map of its embeddings, and what it finds, to look at and listen to."""

from __future__ import annotations

import base64
import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from coview.data.source import Source
from coview.data.views import Batch
from coview.embedding.extract import Features, extract_locally
from coview.evaluation.tsne import tsne
from coview.media.encode import write_clip
from coview.methods.contract import Space
from coview.randomness import make_key, uniform

if TYPE_CHECKING:
    from coview.model import Model

LOOKED_AT = 200  # recordings on the map, and searched
QUERIES = 3  # shown for each direction
FOUND = 5  # shown for each query
SIDE = 112  # pixels of a shown clip, at most
BUDGET = 1_800_000  # bytes of all shown clips, before base64


@dataclass(frozen=True)
class Tile:
    """One clip: `media` is a data URI, empty where the recording has nothing to play."""

    id: str
    label: str
    media: str
    picture: bool
    similarity: float | None = None
    verdict: str = ""  # "pair": the query's own recording; "class": another of its class; "other"; "" unknown


@dataclass(frozen=True)
class Example:
    """A query and what was found for it, best first."""

    direction: str
    query: Tile
    found: list[Tile]


@dataclass(frozen=True)
class Exhibits:
    """Maps: view -> (points (N, 2), labels (N,)); and examples of retrieval."""

    maps: dict[str, tuple[Tensor, Tensor]]
    classes: list[str]
    examples: list[Example]
    gallery: int


def make_exhibits(model: Model, source: Source, *, seed: int = 0) -> Exhibits:
    """Embed some recordings of a source, chosen by the seed alone, and draw maps and examples from them."""
    chosen = torch.argsort(uniform(make_key(seed, torch.arange(len(source))), 1), stable=True)
    rows = chosen[:LOOKED_AT].sort().values
    views = model.distinct_views()
    between = len(views) > 1 and len(model.method.projectors) > 0
    spaces: tuple[Space, ...] = ("backbone", "projected") if between else ("backbone",)

    def both(batch: Batch) -> dict[str, Tensor]:  # every recording is read once
        return {f"{name}/{space}": z for space in spaces for name, z in model.encode(batch, space).items()}

    found = extract_locally(model, source, rows, embed=both)
    backbone = _in_space(found, "backbone")
    maps = {view: embedding_map(backbone, view) for view in views if int(backbone.present[view].sum()) >= 20}
    examples = retrieval_examples(_in_space(found, "projected"), source, views, seed) if between else []
    return Exhibits(maps, list(source.classes), examples, len(rows))


def _in_space(features: Features, space: Space) -> Features:
    """Return the features that were extracted as "view/space"."""

    def own(whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key.removesuffix(f"/{space}"): part for key, part in whole.items() if key.endswith(f"/{space}")}

    return dataclasses.replace(features, clips=own(features.clips), clip_present=own(features.clip_present))


def embedding_map(features: Features, view: str) -> tuple[Tensor, Tensor]:
    """Return points (N, 2), a map of cosine distances, and labels (N,)."""
    present = features.present[view]
    unit = normalize(features.values[view][present], dim=1)
    return tsne(unit, min(30.0, (len(unit) - 1) / 3)), features.labels[present]


def retrieval_examples(features: Features, source: Source, views: list[str], seed: int) -> list[Example]:
    """Return examples between the first two views, then within each, as many as the size limit lets through.

    Within a view the query's own recording takes no part.
    """
    one, other = views[:2]
    both = (features.present[one] & features.present[other]).nonzero().squeeze(1)
    if both.numel() <= FOUND:
        return []
    order = both[torch.argsort(uniform(make_key(seed, both), 2), stable=True)].tolist()
    clips = Clips(source)
    examples: list[Example] = []
    between = [(one, other), (other, one)] * min(QUERIES, len(order) // 2)
    directions = [*between, (one, one), (other, other)]
    for asked, (query, gallery) in zip(order, directions, strict=False):
        unit = normalize(features.values[gallery][both], dim=1)
        similarity = unit @ normalize(features.values[query][asked], dim=0)
        if query == gallery:
            similarity = similarity.masked_fill(both == asked, -torch.inf)
        best = torch.argsort(similarity, descending=True, stable=True)[:FOUND]
        found = [tile(features, clips, int(both[b]), asked, float(similarity[b])) for b in best]
        if clips.size > BUDGET:
            break
        examples.append(Example(f"{query} to {gallery}", tile(features, clips, asked), found))
    names = [f"{query} to {gallery}" for query, gallery in ((one, other), (other, one), (one, one), (other, other))]
    return sorted(examples, key=lambda example: names.index(example.direction))


def tile(
    features: Features, clips: Clips, place: int, asked: int | None = None, similarity: float | None = None
) -> Tile:
    """Return the tile of the recording at `place`, judged against the query at `asked`."""
    label, verdict = int(features.labels[place]), ""
    if asked == place:
        verdict = "pair"
    elif asked is not None and label >= 0 and int(features.labels[asked]) >= 0:
        verdict = "class" if label == int(features.labels[asked]) else "other"
    media, picture = clips.get(int(features.rows[place]))
    name = features.classes[label] if label >= 0 else ""
    return Tile(features.ids[place], name, media, picture, similarity, verdict)


class Clips:
    """Clips of a source as data URIs of small MP4 files, each made once; `size` counts their bytes."""

    def __init__(self, source: Source) -> None:
        self.source, self.size = source, 0
        self._made: dict[int, tuple[str, bool]] = {}

    def get(self, row: int) -> tuple[str, bool]:
        """Return the first window's picture and sound as a data URI, and whether there is a picture."""
        if row not in self._made:
            content, picture = self._encode(row)
            self.size += len(content)
            uri = "data:video/mp4;base64," + base64.b64encode(content).decode() if content else ""
            self._made[row] = uri, picture
        return self._made[row]

    def _encode(self, row: int) -> tuple[bytes, bool]:
        batch = self.source.read_window(torch.tensor([row]), 0, 1)
        here = [
            (view, batch.views[name][0]) for name, view in self.source.views.items() if bool(batch.present[name][0])
        ]
        frames, fps = next((film for view, raw in here if (film := view.film(raw))), (None, None))
        waveform, rate = next((sound for view, raw in here if (sound := view.sound(raw))), (None, None))
        if frames is None and waveform is None:
            return b"", False
        frames = None if frames is None else _small(frames)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "clip.mp4"
            write_clip(file, frames, fps, waveform, rate, crf=28)
            return file.read_bytes(), frames is not None


def _small(frames: Tensor) -> Tensor:
    """Scale uint8 (3, T, S, S) down to at most `SIDE` pixels, which is even as H.264 wants it."""
    if frames.shape[-1] <= SIDE:
        return frames
    scaled = interpolate(frames.transpose(0, 1), size=(SIDE, SIDE), mode="bilinear", antialias=True)
    return scaled.transpose(0, 1).contiguous()
