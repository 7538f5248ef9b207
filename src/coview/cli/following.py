"""Which command comes next: one that works as it stands, on this collection and in this folder."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coview.data.synthetic import is_world
from coview.files import read_json
from coview.methods import FIRST, load_method

if TYPE_CHECKING:
    from coview.model import Model

Words = list[object]
LARGE = 1000  # recordings, below which networks of full size have too little to learn from


def training(counts: Mapping[str, int], collection: object) -> Words:
    """Return the command that learns from what a collection has most of.

    Args:
        counts: of `recordings`, of those `with_both` picture and sound, and `with_video`.
    """
    what = "films with sound" if counts["with_both"] else "pictures" if counts["with_video"] else "sounds"
    tiny = ["--tiny"] if counts["recordings"] < LARGE else []
    return ["coview", "pretrain", *FIRST[what], *tiny, "--collection", collection, "-o", free("my-run")]


def training_on_copy(counts: Mapping[str, int], folder: object, stored: Mapping[str, float]) -> Words:
    """Return the command that learns from a prepared copy: as `training`, with views that are cut as they are stored.

    Args:
        counts: as in `training`.
        stored: setting of a view -> its value in the copy, such as "size" 112.
    """
    slug, *words = training(counts, folder)[2:]
    kind = load_method(str(slug)).Settings
    settings, options = kind.tiny() if "--tiny" in words else kind(), list[object]()
    for group, view in _views_in(settings):
        for name in sorted({item.name for item in dataclasses.fields(view)} & stored.keys()):
            if getattr(view, name) != stored[name]:
                options += [f"--method.{group}.{name.replace('_', '-')}", f"{stored[name]:.12g}"]
    return ["coview", "pretrain", slug, *words[:-4], *options, *words[-4:]]


def normalising(settings: Any) -> Words:
    """Return the options with which a method's views are normalised by statistics that were taken of the data."""
    return [
        word
        for group, view in _views_in(settings)
        if getattr(view, "normalise", "statistics") != "statistics"
        for word in (f"--method.{group}.normalise", "statistics")
    ]


def measuring(folder: Path, model: Model, collection: str, classes: int) -> Words:
    """Return the command that measures a model: retrieval where it has two views, else kNN where there are labels.

    Where there is neither, or no test part to measure on, the one that makes embeddings.
    """
    if not _has_tests(collection):
        return embedding(folder, collection)
    where = ["--model", folder, "--collection", collection]
    if len(model.distinct_views()) > 1 and len(model.method.projectors):
        return ["coview", "evaluate", "retrieval", *where]
    return ["coview", "evaluate", "knn", *where] if classes > 1 else embedding(folder, collection)


def embedding(folder: Path, collection: str) -> Words:
    """Return the command that embeds a collection, for search and for other tools."""
    return ["coview", "embed", "--model", folder, "--collection", collection, "-o", free("my-embeddings")]


def looking(folder: Path, model: Model, collection: str) -> Words:
    """Return the command that shows what a model has learnt of media; of stored features, the one that measures it."""
    if not any(view.medium for view in model.views.values()):
        return ["coview", "evaluate", "retrieval", "--model", folder, "--collection", collection]
    return ["coview", "explain", "--model", folder, "--collection", collection]


def taught_on(folder: Path) -> str | None:
    """Return the collection that a run has learnt from, None where there is no run or the collection is gone."""
    from coview.evaluation.runs import records_of

    name = str(records_of(folder).settings.get("collection") or "")
    return name if name and (Path(name).exists() or is_world(name)) else None


def collection_here() -> Path | None:
    """Return the first collection among the folders that lie here, None where there is none."""
    return next((card.parent for card in sorted(Path().glob("*/collection.json"))), None)


def free(name: str) -> str:
    """Return a name, with a number behind it where there is something of that name already."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if not Path(each).exists())


def _views_in(settings: Any) -> list[tuple[str, Any]]:
    from coview.data.views import ViewSpec  # with torch, as all that learns

    values = [(group.name, getattr(settings, group.name)) for group in dataclasses.fields(settings)]
    return [(name, view) for name, view in values if isinstance(view, ViewSpec)]


def _has_tests(collection: str) -> bool:
    card = Path(collection) / "collection.json"
    parts = read_json(card, "a collection").get("parts", {}) if card.is_file() else {}
    return bool(parts.get("test", 2) > 1)
