"""A store of embeddings: unit vectors on disk with the id, file and seconds of each, and a card saying whose they are.

    card.json                 what made the vectors; written first
    00000.video.npy           float32 (M, D), rows of length 1, one per window that is present
    00000.parquet             view, row, id, path, start, end of every vector of the part, in the vectors' order

A part holds 1,024 recordings. It is complete when its Parquet file is there, which is written last; everything is
written aside and renamed, so that a stopped call leaves whole parts only and the next one goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.functional import normalize

from coview import parallel
from coview.data.source import Source
from coview.embedding.extract import Features, Space, extract_locally, fingerprint
from coview.errors import UsageError
from coview.files import write_aside
from coview.settings import diff, to_dict

if TYPE_CHECKING:
    from coview.model import Model

FORMAT = 1
PART = 1024  # recordings


@dataclass(frozen=True)
class Part:
    """One part of a store, for one view: `vectors` float32 (M, D), memory-mapped, and the columns of its table."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    table: pa.Table


class Store:
    """A complete store, opened for reading.

    Attributes:
        folder: where it lies.
        card: contents of card.json.
    """

    def __init__(self, folder: Path) -> None:
        """Open a store.

        Raises:
            UsageError: the folder is no store, is of another format, or is not complete.
        """
        self.folder, self.card = folder, read_card(folder)
        missing = [name for name in self._names() if not (folder / f"{name}.parquet").is_file()]
        if missing:
            raise UsageError(
                f"{folder}: {len(missing)} of {len(self._names())} parts are missing; the embedding was stopped, run "
                "the same `coview embed` again to complete it"
            )

    @property
    def views(self) -> list[str]:
        """The views that have vectors."""
        return list(self.card["views"])

    def parts(self, view: str) -> Iterator[Part]:
        """Yield the parts that hold vectors of a view, in order."""
        if view not in self.views:
            raise UsageError(
                f"{self.folder}: there are no embeddings of {view!r}; there are of {', '.join(self.views)}"
            )
        for name in self._names():
            file = self.folder / f"{name}.{view}.npy"
            if file.is_file():
                table = pq.read_table(self.folder / f"{name}.parquet", filters=[("view", "==", view)])
                yield Part(np.load(file, mmap_mode="r", allow_pickle=False), table)

    def check_model(self, model: Model) -> None:
        """Refuse a model that did not make these embeddings."""
        asked = fingerprint(model)
        if asked != self.card["model"]:
            raise UsageError(
                f"{self.folder} holds embeddings of another model (its weights are {self.card['model'][:12]}, those of "
                f"the model asked are {asked[:12]}). Similarities between two models mean nothing: use the model that "
                "made them, or embed the collection again into another folder"
            )

    def _names(self) -> list[str]:
        return part_names(self.card["recordings"])


def build_store(
    model: Model,
    source: Source,
    folder: Path,
    *,
    paths: Sequence[str],
    space: Space = "projected",
    windows: int = 1,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Store | None:
    """Embed a source into a store, or complete one; parts that are there are not made again.

    Args:
        model: whose embeddings.
        source: the recordings; `paths` names the file of each.
        folder: the store's; made where it is not there.
        space: "projected", where views are compared, or "backbone".
        windows: evenly spaced cuts per recording, so that results have times.
        batch_size: recordings at a time.
        progress: called with (recordings done, recordings) of this process.

    Process r of W makes every W-th part. Returns the store, or None on a process other than the first, which may be
    done before the others are.

    Raises:
        UsageError: the folder holds something else, or embeddings made in another way (the message lists how).
    """
    windows = source.windows(windows)
    card = {
        "format": FORMAT,
        "model": fingerprint(model),
        "method": model.method.about.slug,
        "source": Path(source.name).name,
        "collection": source.fingerprint,
        "recordings": len(source),
        "space": space,
        "windows": windows,
        "normalised": True,
        "metric": "inner product of unit vectors: the cosine",
        "preprocessing": to_dict(source.views),
        "views": {},
    }
    names = part_names(len(source))
    if parallel.is_main():
        claim(folder, card)
    _wait(model)
    claim(folder, card)  # the others check what the first has written
    mine = list(range(len(names)))[parallel.rank() :: parallel.world_size()]
    for count, number in enumerate(mine):
        if not (folder / f"{names[number]}.parquet").is_file():
            rows = torch.arange(number * PART, min((number + 1) * PART, len(source)))
            features = extract_locally(model, source, rows, windows=windows, space=space, batch_size=batch_size)
            write_part(folder, names[number], features, source, paths)
        progress(min((count + 1) * PART, len(source)), min(len(mine) * PART, len(source)))
    parallel.gather(
        torch.zeros(1, device=next(model.method.parameters()).device)
    )  # wait for the other processes' parts
    if not parallel.is_main():
        return None
    dims: dict[str, int] = {}
    for name in names:
        for file in sorted(folder.glob(f"{name}.*.npy")):
            dims[file.name.split(".")[1]] = np.load(file, mmap_mode="r", allow_pickle=False).shape[1]
    write_aside(folder / "card.json", json.dumps({**card, "views": dims}, indent=2) + "\n")
    return Store(folder)


def claim(folder: Path, card: Mapping[str, Any]) -> None:
    """Write the card into a new folder, or check that the one there was made in the same way."""
    if (folder / "card.json").is_file():
        changes = diff({**read_card(folder), "views": {}}, dict(card))
        if changes:
            raise UsageError(
                f"{folder} holds embeddings made in another way (there -> asked):\n"
                + "\n".join(f"  - {line}" for line in changes)
                + "\nChoose another folder"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: the folder is not empty and holds no embeddings; choose another one")
    folder.mkdir(parents=True, exist_ok=True)
    write_aside(folder / "card.json", json.dumps(card, indent=2) + "\n")


def write_part(folder: Path, name: str, features: Features, source: Source, paths: Sequence[str]) -> None:
    """Write the vectors of each view, then the table that makes the part complete."""
    columns: dict[str, list[Any]] = {key: [] for key in ("view", "row", "id", "path", "start", "end")}
    for view, clips in features.clips.items():
        present = features.clip_present[view]
        if not present.any():
            continue
        recording, window = present.nonzero(as_tuple=True)
        vectors = normalize(clips[recording, window], dim=1)
        aside = folder / f".{name}.{view}.npy.partial"
        with aside.open("wb") as stream:
            np.save(stream, vectors.numpy().astype(np.float32), allow_pickle=False)
        aside.replace(folder / f"{name}.{view}.npy")
        start = features.start[view][recording, window]
        rows = features.rows[recording].tolist()
        columns["view"] += [view] * len(rows)
        columns["row"] += rows
        columns["id"] += [source.ids[row] for row in rows]
        columns["path"] += [paths[row] for row in rows]
        columns["start"] += start.tolist()
        columns["end"] += (start + source.views[view].seconds).tolist()
    aside = folder / f".{name}.parquet.partial"
    pq.write_table(pa.table(columns, schema=_SCHEMA), aside)
    aside.replace(folder / f"{name}.parquet")


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card of a store; raises UsageError where there is none or it is of another format."""
    file = folder / "card.json"
    if not file.is_file():
        raise UsageError(f"{folder} holds no embeddings (it has no card.json); make them by `coview embed`")
    card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if card.get("format") != FORMAT:
        raise UsageError(f"{file}: format {card.get('format')!r}, but this version reads {FORMAT}; embed again")
    return card


def part_names(recordings: int) -> list[str]:
    """Return the names of the parts of a store of so many recordings."""
    return [f"{number:05d}" for number in range(-(-recordings // PART))]


def _wait(model: Model) -> None:
    """Return when every process has come here."""
    parallel.gather(torch.zeros(1, device=next(model.method.parameters()).device))


_SCHEMA = pa.schema(
    [
        ("view", pa.string()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("path", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
    ]
)
