"""Where embeddings come from and where they are kept: the files of a source, and a store beside the model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from coview.data.collection import Collection
from coview.data.open import open_source
from coview.data.source import Source
from coview.data.stored import Stored, is_stored, open_stored, read_card
from coview.embedding.stored import check_model, store
from coview.settings import to_dict

if TYPE_CHECKING:
    from coview.model import Model


def open_with_paths(name: str, model: Model) -> tuple[Source, list[str]]:
    """Open all of a collection, or a world, in the model's views; returns the source and the file of each row.

    What has no files, such as a world, has empty paths.
    """
    source = open_source(name, model.needed)
    if not (Path(name) / "collection.json").is_file():
        return source, [""] * len(source)
    collection = Collection.open(name)
    files = dict(zip(collection.ids, collection.column("path"), strict=True))
    return source, [str((collection.root / files[recording]).absolute()) for recording in source.ids]


def embeddings_of(
    model: Model, place: Path, name: str, windows: int, named: Path | None, progress: Callable[[int, int], None]
) -> Stored:
    """Return a collection's embeddings: those named, those that the model's folder is, or those kept beside the model.

    The last are made first where they are incomplete.

    Args:
        place: the model's folder.
        name: of the collection.
        named: a folder of embeddings.

    Raises:
        UsageError: the named folder holds no embeddings, or another model's.
    """
    if named is None:
        source, paths = open_with_paths(name, model)
        card = read_card(place) if is_stored(place) else {}
        if (card.get("collection"), card.get("space")) != (source.fingerprint, "projected"):
            folder = store_folder(model, place, source, windows)
            return store(model, source, folder, paths=paths, windows=windows, progress=progress)
    stored = open_stored(named or place)
    check_model(stored, model)
    return stored


def store_folder(model: Model, place: Path, source: Source, windows: int) -> Path:
    """Return the folder of a source's embeddings by a model, `windows` of each recording, when nobody names one.

    It lies beside the model, or in the user's cache where the model's folder cannot be written.
    """
    about = [model.digest, source.fingerprint, to_dict(source.views), windows]
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    if os.access(place, os.W_OK):
        return place / "embeddings" / name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "coview" / "embeddings" / name
