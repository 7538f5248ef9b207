"""Where embeddings come from and where they are kept: the files of a source, and a store beside the model."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from coview.data.collection import Collection
from coview.data.open import open_source
from coview.data.source import Source
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
