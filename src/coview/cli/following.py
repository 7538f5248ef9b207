"""Which command comes next: one that works as it stands, on this collection and in this folder."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coview.files import read_json
from coview.methods import FIRST

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


def free(name: str) -> str:
    """Return a name, with a number behind it where there is something of that name already."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if not Path(each).exists())


def _has_tests(collection: str) -> bool:
    card = Path(collection) / "collection.json"
    parts = read_json(card, "a collection").get("parts", {}) if card.is_file() else {}
    return bool(parts.get("test", 2) > 1)
