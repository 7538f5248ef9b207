"""Features as a source of samples: vectors of two or more encoders, joined by recording.

A name says which: `[VIEW=]PATH[,[VIEW=]PATH...][@COLLECTION]`, for example "picture=emb-a,sound=emb-b@my-collection".
A path with several tables gives several views. What stands behind @, a collection or a world, yields labels and splits;
without it, the files' own columns do where they have any.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection as Names
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from coview.data.collection import Collection
from coview.data.feature_files import FeatureTable, is_feature_file, read_features
from coview.data.recording import Split
from coview.data.source import Source
from coview.data.synthetic import NOISY_DIGITS, is_world, noisy_digits, parse_world
from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.errors import UsageError


def is_features(name: str) -> bool:
    """Tell whether a source's name is one of features."""
    paths = [path for _, path in _parts(name)]
    return all(is_feature_file(path) for path in paths)


def open_features(
    name: str, views: Mapping[str, ViewSpec] | None = None, split: Split | None = None, seed: int = 0
) -> FeatureSource:
    """Return the source of a name as above.

    Args:
        views: what is wanted, a part of what there is; None takes all.
        split: the part of the collection behind @, or of the files' own column; files without either are one part.
        seed: of the world behind @.

    Raises:
        UsageError: two tables of one name, no such view or split, or no recording that has two views.
        InputError: as `read_features`.
    """
    tables: dict[str, FeatureTable] = {}
    for given, path in _parts(name):
        found = read_features(path)
        for table in found:
            view = given or table.name
            if given and len(found) > 1:
                view = f"{given}-{table.name}"
            if view in tables:
                raise UsageError(f"{name}: two sets of features are called {view!r}; call one {view}-2={path}")
            tables[view] = table
    if views is not None:
        missing = [view for view in views if view not in tables]
        if missing:
            raise UsageError(f"{name}: there are no features {', '.join(missing)}; there are {', '.join(tables)}")
        tables = {view: tables[view] for view in views}
    ids, labels, classes = _recordings(name, list(tables.values()), split, seed)
    return FeatureSource(name, tables, ids, labels, classes, views)


class FeatureSource:
    """Tables of features joined by id; implements `Source`. A recording may lack some views, not all.

    Args:
        name: for reports.
        tables: view -> its features.
        ids: the recordings, in order; those without any features are left out.
        labels: int64 (len(ids),), -1 where unlabelled.
        classes: names of the labels.
        views: how long sequences are: a longer one is cut to its first steps. None takes the longest of each table.

    Raises:
        UsageError: no recording has two views, or a view is not as its table.
    """

    def __init__(
        self,
        name: str,
        tables: Mapping[str, FeatureTable],
        ids: list[str],
        labels: Tensor,
        classes: list[str],
        views: Mapping[str, ViewSpec] | None = None,
    ) -> None:
        places = {view: {recording: row for row, recording in enumerate(t.ids)} for view, t in tables.items()}
        kept = [row for row, recording in enumerate(ids) if any(recording in place for place in places.values())]
        self.name, self.classes, self.labels = name, classes, labels[kept]
        self.ids = [ids[row] for row in kept]
        there = {view: FeaturesView(dim=table.values.shape[1], steps=table.longest) for view, table in tables.items()}
        self.views = cast(dict[str, FeaturesView], dict(views or there))
        for view, spec in self.views.items():
            # All but the number of steps has to be as it is.
            if spec.raw_shape[-1:] != there[view].raw_shape[-1:] or len(spec.raw_shape) != len(there[view].raw_shape):
                raise UsageError(f"{name}: {view!r} is {there[view]}, but {spec} is wanted")
        self._tables = dict(tables)
        self._place = {
            view: torch.tensor([place.get(recording, -1) for recording in self.ids], dtype=torch.int64)
            for view, place in places.items()
        }
        self._first = {view: table.ends - table.lengths for view, table in tables.items() if table.ends is not None}
        self.lacking = {view: int((place < 0).sum()) for view, place in self._place.items()}
        self.fingerprint = self._digest()
        together = torch.stack([place >= 0 for place in self._place.values()]).sum(0)
        if len(tables) > 1 and not bool((together > 1).any()):
            examples = ", ".join(f"{view}: {table.ids[0]!r}" for view, table in tables.items())
            raise UsageError(f"{name}: no recording has features of two views; their ids do not meet ({examples})")

    def _digest(self) -> str:
        """Return the hash of all that is read: recordings, labels, classes, and every view's numbers in their order."""
        digest = hashlib.sha256(json.dumps([self.ids, self.classes, self.labels.tolist()]).encode())
        for view, table in sorted(self._tables.items()):
            digest.update(json.dumps([view, self._place[view].tolist(), table.lengths.tolist()]).encode())
            digest.update(table.values.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.ids)

    def narrowed(self, views: Names[str]) -> FeatureSource:
        """Return the same recordings with some views alone; see `source.narrowed`."""
        part = copy.copy(self)
        part.views = {name: spec for name, spec in self.views.items() if name in views}
        return part

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """Return the features of `row`; the key draws nothing."""
        place = {view: self._place[view][row] for view in self.views}
        batch = Batch(
            views={},
            row=row,
            key=key,
            start={view: torch.zeros(len(row), dtype=torch.float64) for view in self.views},
            present={view: where >= 0 for view, where in place.items()},
            label=self.labels[row],
        )
        for view, spec in self.views.items():
            batch.views[view], length = self._take(view, spec, place[view])
            if spec.sequence:
                batch.length[view] = length
        return batch

    def _take(self, view: str, spec: ViewSpec, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw views of the rows `place` of a table (-1: absent, zero), and how many steps each has."""
        table, there = self._tables[view], place >= 0
        if table.ends is None:
            values = table.values.index_select(0, place.clamp(min=0))
            return values if not self.lacking[view] else values.masked_fill_(~there[:, None], 0.0), there.long()
        first, steps = self._first[view][place], spec.raw_shape[0]
        length = torch.where(there, table.ends[place] - first, 0).clamp(max=steps)
        step = torch.arange(steps)
        valid = step < length[:, None]
        values = table.values[torch.where(valid, first[:, None] + step, 0)]
        return torch.where(valid[..., None], values, 0.0), length

    def windows(self, count: int) -> int:
        """Return 1: there is no time."""
        return 1

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Return the features of `row`."""
        return self.read(row, torch.zeros_like(row))


def _parts(name: str) -> list[tuple[str, Path]]:
    """Return the (view or "", path) of every part of a name."""
    parts = [part.rpartition("=") for part in name.partition("@")[0].split(",")]
    return [(view, Path(path)) for view, _, path in parts]


def _recordings(
    name: str, tables: list[FeatureTable], split: Split | None, seed: int
) -> tuple[list[str], Tensor, list[str]]:
    """Return ids in order, labels and classes of the recordings asked for."""
    beside = name.partition("@")[2]
    if beside:
        return _of_collection(beside, split, seed)
    label = {i: v for table in tables for i, v in zip(table.ids, table.labels, strict=False) if v is not None}
    part = {i: v for table in tables for i, v in zip(table.ids, table.splits, strict=False) if v is not None}
    ids = sorted(set().union(*(table.ids for table in tables)))
    if split is not None and part:
        ids = [recording for recording in ids if part.get(recording) == split]
        if not ids:
            found = ", ".join(map(str, sorted(set(part.values()))))
            raise UsageError(f"{name}: no recording belongs to the split {split!r}; found {found}")
    classes = sorted(set(label.values()))
    number = {text: place for place, text in enumerate(classes)}
    return ids, torch.tensor([number[label[i]] if i in label else -1 for i in ids], dtype=torch.int64), classes


def _of_collection(beside: str, split: Split | None, seed: int) -> tuple[list[str], Tensor, list[str]]:
    source: Source
    if (Path(beside) / "collection.json").is_file():
        collection = Collection.open(beside).select(split=split)
        number = {text: place for place, text in enumerate(collection.classes)}
        labels = [number.get(text, -1) for text in collection.column("label")]
        return collection.ids, torch.tensor(labels, dtype=torch.int64), collection.classes
    if is_world(beside):
        source = parse_world(beside, split or "train", seed=seed)
    elif beside == NOISY_DIGITS:
        source = noisy_digits.NoisyDigits(split or "train", seed=seed)
    else:
        raise UsageError(f"@{beside}: expected a collection or a world, whose labels and splits the features have")
    return source.ids, source.labels, source.classes
