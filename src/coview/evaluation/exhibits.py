"""What the report shows of a model at work: a map of its embeddings, and what it finds, to look at and listen to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.data.source import Source
from coview.data.views import Batch
from coview.embedding.extract import Features, extract_locally
from coview.embedding.gallery import Gallery
from coview.evaluation.tiles import Clips, Tile, tile
from coview.evaluation.tsne import tsne
from coview.evaluation.wording import plain_view
from coview.methods.reading import Space
from coview.randomness import make_key, uniform

if TYPE_CHECKING:
    from coview.model import Model

LOOKED_AT = 150  # recordings on the map, and searched
QUERIES = 2  # shown for each direction
FOUND = 5  # shown for each query
BUDGET = 1_800_000  # bytes of all shown clips, before base64


@dataclass(frozen=True)
class Example:
    """A query and what was found for it, best first: by which view it asks, in plain words, and for which."""

    asked: str
    wanted: str
    query: Tile
    found: list[Tile]


@dataclass(frozen=True)
class Exhibits:
    """Maps: view -> (points (N, 2), labels (N,)); and examples of retrieval, with the clips that their tiles play."""

    maps: dict[str, tuple[Tensor, Tensor]]
    classes: list[str]
    examples: list[Example]
    gallery: int
    clips: Clips


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
    clips = Clips(source, BUDGET)
    examples = retrieval_examples(_in_space(found, "projected"), clips, views, seed) if between else []
    return Exhibits(maps, list(source.classes), examples, len(rows), clips)


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


def retrieval_examples(features: Features, clips: Clips, views: list[str], seed: int) -> list[Example]:
    """Return examples between the first two views, then within each, as many as the size limit lets through.

    Within a view the query's own recording takes no part.
    """
    one, other = views[:2]
    both = (features.present[one] & features.present[other]).nonzero().squeeze(1)
    if both.numel() <= FOUND:
        return []
    asking = both[
        (features.values[one][both] != 0).any(1) & (features.values[other][both] != 0).any(1)
    ]  # 0 asks nothing
    order = asking[torch.argsort(uniform(make_key(seed, asking), 2), stable=True)].tolist()
    examples: list[Example] = []
    between = [(one, other), (other, one)] * min(QUERIES, len(order) // 2)
    directions = [*between, (one, one), (other, other)]
    for asked, (query, gallery) in zip(order, directions, strict=False):
        rows = both[both != asked] if query == gallery else both
        unit = normalize(features.values[gallery], dim=1)[:, None]
        near = Gallery(unit).nearest(features.values[query][asked], FOUND, rows.numpy())
        pairs = zip(near.rows.tolist(), near.similarity.tolist(), strict=True)
        found = [tile(features, clips, row, asked, similarity) for row, similarity in pairs]
        if clips.full:
            break
        examples.append(Example(plain_view(query), plain_view(gallery), tile(features, clips, asked), found))
    return sorted(examples, key=lambda e: (e.asked == e.wanted, e.asked != plain_view(one)))
