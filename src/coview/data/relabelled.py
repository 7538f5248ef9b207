"""A source whose recordings have other labels than its own: those of a table, by id."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from coview.data.manifest import EXTENSIONS, read_rows
from coview.data.part import Part
from coview.data.source import Source
from coview.data.views import Batch
from coview.data.words import word_of
from coview.errors import UsageError


def read_labels(path: Path) -> dict[str, str]:
    """Return id -> label of a table with columns id and label, such as `coview label` writes; empty labels are none.

    Raises:
        UsageError: the table cannot be read, lacks a column, has no label, or says two of one recording.
    """
    if path.suffix.lower() not in EXTENSIONS or not path.is_file():
        raise UsageError(f"{path}: expected a table of labels ({', '.join(EXTENSIONS)}) with columns id and label")
    found: dict[str, str] = {}
    for number, row in enumerate(read_rows(path), start=1):
        if not {"id", "label"} <= row.keys():
            raise UsageError(f"{path}: row {number}: expected columns id and label, found {', '.join(row)}")
        try:
            name, label = word_of(row["id"]), word_of(row["label"])
        except ValueError as error:
            raise UsageError(f"{path}: row {number}: {error}") from error
        if name is None or label is None:
            continue
        if found.setdefault(name, label) != label:
            raise UsageError(f"{path}: row {number}: {name!r} is labelled {label!r} here and {found[name]!r} before")
    if not found:
        raise UsageError(f"{path}: there is no label in it")
    return found


class Relabelled(Part):
    """A source with the labels given by id, -1 for recordings without one; all else is as it was.

    The classes are those of all the labels, so that parts of one collection have the same.
    """

    def __init__(self, source: Source, labels: Mapping[str, str]) -> None:
        super().__init__(source, torch.arange(len(source)))
        self.classes = sorted(set(labels.values()))
        number = {label: place for place, label in enumerate(self.classes)}
        own = [number[labels[name]] if name in labels else -1 for name in source.ids]
        self.labels = torch.tensor(own, dtype=torch.int64)
        about = json.dumps([source.fingerprint, self.classes, own])
        self.fingerprint = hashlib.sha256(about.encode()).hexdigest()[:16]

    def _own(self, batch: Batch) -> Batch:
        return dataclasses.replace(batch, label=self.labels[batch.row])
