"""Files and words as a model's raw views: what `Model.embed` reads, without a collection on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from coview.data.collection import Collection
from coview.data.identity import kept_name
from coview.data.media_source import MediaSource
from coview.data.probing import probe_file
from coview.data.recording import Recording
from coview.data.timeline import Timelines
from coview.data.views import Batch, ViewSpec, raw_views
from coview.errors import MediaError, UsageError

_TRACKS = {"picture": "video", "sound": "audio"}  # what a view's medium is called in a file


def in_files(view: ViewSpec) -> bool:
    """Tell whether media files have what a view is cut from."""
    return view.medium is not None and not view.track


def read_files(
    files: Sequence[Path | str], views: Mapping[str, ViewSpec], windows: int, batch_size: int
) -> Iterator[list[Batch]]:
    """Yield the raw views of `batch_size` files after another: a batch for every one of `windows` evenly spaced cuts.

    Raises:
        MediaError: a file cannot be read, or lacks what one of the views is cut from; names the file.
    """
    probed = [as_recording(index, Path(file)) for index, file in enumerate(files)]
    collection = Collection.of([recording for recording, _ in probed])
    known = Timelines(collection.table)
    has = {name: spec.has(known) for name, spec in views.items()}
    for index, (_, fields) in enumerate(probed):
        others = ", ".join(repr(name) for name in views if has[name][index])
        for name, spec in views.items():
            if not has[name][index]:
                reason, why = _lack(_TRACKS[spec.medium or "picture"], fields, name)
                hint = f"; ask for view={others} to use the rest of it" if others else ""
                raise MediaError(str(files[index]), reason, why + hint)
    source = MediaSource(collection, raw_views(views))
    for rows in torch.split(torch.arange(len(source)), batch_size):
        batches = source.read_windows(rows, range(windows), windows)
        for row, reason in (problem for batch in batches for problem in batch.replaced):
            raise MediaError(str(files[row]), reason, "a cut of the file could not be decoded")
        for name in source.views:
            there = torch.stack([batch.present[name] for batch in batches]).any(0)
            for row in rows[~there].tolist():
                raise MediaError(str(files[row]), "silent", f"there is nothing to hear where {name!r} was cut")
        yield batches


def text_batch(texts: Sequence[str], views: Mapping[str, ViewSpec]) -> tuple[str, Batch]:
    """Return the first view of words, and the raw batch of texts in it.

    Raises:
        UsageError: there is no such view, or no text.
    """
    spelt = {name: [spec.spell(text) for text in texts] for name, spec in views.items()}
    found = {name: raw for name, all_raw in spelt.items() if (raw := [one for one in all_raw if one is not None])}
    if not found:
        raise UsageError(f"give at least one text, to a model of captions; this one has {', '.join(views)}")
    name, raw = next(iter(found.items()))
    row = torch.arange(len(texts))
    return name, Batch(views={name: torch.stack(raw)}, row=row, key=row)


def as_recording(index: int, path: Path) -> tuple[Recording, Mapping[str, Any]]:
    """Return a file as a recording, and what probing it found."""
    outcome = probe_file(path)
    if "reason" in outcome:
        raise MediaError(str(path), outcome["reason"], outcome["message"])
    known = {"id": f"{index:09d}", "path": kept_name(path.absolute()), "start": 0.0, "duration": outcome["end"]}
    names = {field.name for field in dataclasses.fields(Recording)}
    fields = {name: value for name, value in {**outcome, **known}.items() if name in names}
    return Recording(**{**fields, "flags": tuple(outcome["flags"])}), outcome


def _lack(track: str, fields: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return the reason and the sentence why a view cannot be cut from a file."""
    if not fields[f"has_{track}"]:
        return f"no-{track}", f"the file has no {track} track for {name!r}"
    if track == "audio":
        return "silent", f"the file's sound is silent, so it has no {name!r}"
    return "still", f"the file is one picture, without the motion of {name!r}"
