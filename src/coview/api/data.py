"""What there is to learn from, and by: collections, sources and methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from coview.data.collection import Collection
    from coview.data.recording import Split
    from coview.data.source import Source
    from coview.data.views import ViewSpec
    from coview.methods.cards import Card
    from coview.model import Model

Place: TypeAlias = "Path | str"


def list_methods() -> dict[str, Card]:
    """Return name -> card of every method and pipeline: title, paper, family, views, what is verified, settings."""
    from coview.methods import listed
    from coview.methods.cards import card_of

    return {slug: card_of(slug) for slug in sorted(listed())}


def index(
    source: Place,
    out: Place,
    *,
    labels_from_folders: bool = False,
    folder: Place | None = None,
    count: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
) -> Collection:
    """Scan a folder, a manifest or a named data set into a collection, and return it; see `coview index`.

    Args:
        source: a folder, a .csv, .jsonl or .parquet manifest, or a name such as "tuxpaint" or "digits-av:A".
        out: the collection's folder.
        labels_from_folders: label recordings by the folder they lie in.
        folder, count, seed: of a named data set: where its files lie, how many recordings to make, of what is random.
        workers: probing processes; one per core by default.

    Raises:
        UsageError: there is no such source, or something is in `out`.
    """
    from coview.data.adapters import Options
    from coview.data.index import index_source

    options = Options(folder=None if folder is None else Path(folder), count=count, seed=seed)
    return index_source(
        str(source), Path(out), labels_from_folders=labels_from_folders, options=options, workers=workers,
        overwrite=overwrite,
    )  # fmt: skip


def open(
    name: Any,
    views: Model | Mapping[str, ViewSpec] | None = None,
    *,
    split: Split | None = None,
    fold: int | None = None,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    classes: Sequence[str] = (),
) -> Source:
    """Return what yields samples: a collection, a prepared copy, arrays, features or a world; see `data.open_source`.

    Args:
        name: what it is called; or a map-style dataset, whose rows are dicts of raw views (`DatasetSource`), such as
            {"video": uint8 (3, T, H, W), "audio": float32 (samples,)}; or a source, which stays as it is.
        views: what is cut: a model's, or view -> specification; None: the world's own, or those that are stored.
        labels, classes: of a dataset: by row the number of its class, and their names.

    Raises:
        UsageError: there is no such source, or it cannot be cut this way.
    """
    from coview.data.dataset_source import DatasetSource
    from coview.data.open import open_source

    wanted = views if views is None or isinstance(views, Mapping) else views.needed
    if isinstance(name, (str, Path)):
        return open_source(str(name), wanted, split=split, fold=fold, seed=seed)
    if hasattr(name, "read_window"):
        source: Source = name
        return source
    return DatasetSource(name, wanted or {}, labels=labels, classes=classes)
