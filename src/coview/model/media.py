"""Files and words as a model's raw views: what `Model.embed` reads, without a collection on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from coview.data.collection import Collection, Recording
from coview.data.media_source import MediaSource
from coview.data.probing import probe_file
from coview.data.text import encode_text
from coview.data.views import Batch, TextView, ViewSpec
from coview.errors import MediaError, UsageError

_TRACKS = {"video": "video", "image": "video", "audio": "audio"}  # what a view's stream is cut from


def in_files(view: ViewSpec) -> bool:
    """Tell whether media files have what a view is cut from."""
    return view.stream in _TRACKS


def read_files(
    files: Sequence[Path | str], views: Mapping[str, ViewSpec], windows: int, batch_size: int
) -> Iterator[list[Batch]]:
    """Yield the raw views of `batch_size` files after another: a batch for every one of `windows` evenly spaced cuts.

    Raises:
        MediaError: a file cannot be read, or lacks what one of the views is cut from.
    """
    recordings = [_recording(index, Path(file), views) for index, file in enumerate(files)]
    source = MediaSource(Collection.of(recordings), views)
    for rows in torch.split(torch.arange(len(source)), batch_size):
        batches = [source.read_window(rows, window, windows) for window in range(windows)]
        for row, reason in (problem for batch in batches for problem in batch.replaced):
            raise MediaError(str(files[row]), reason, "a cut of the file could not be decoded")
        for name in views:
            there = torch.stack([batch.present[name] for batch in batches]).any(0)
            for row in rows[~there].tolist():
                raise MediaError(str(files[row]), "silent", f"there is nothing to hear where {name!r} was cut")
        yield batches


def text_batch(texts: Sequence[str], views: Mapping[str, ViewSpec]) -> tuple[str, Batch]:
    """Return the first view of words, and the raw batch of texts in it.

    Raises:
        UsageError: there is no such view, or no text.
    """
    found = [(name, spec) for name, spec in views.items() if isinstance(spec, TextView)]
    if not found or not texts:
        raise UsageError(f"give at least one text, to a model of captions; this one has {', '.join(views)}")
    name, spec = found[0]
    row = torch.arange(len(texts))
    return name, Batch(views={name: torch.stack([encode_text(text, spec) for text in texts])}, row=row, key=row)


def _recording(index: int, path: Path, views: Mapping[str, ViewSpec]) -> Recording:
    """Probe a file and check that it has what the views are cut from."""
    outcome = probe_file(path)
    if "reason" in outcome:
        raise MediaError(str(path), outcome["reason"], outcome["message"])
    fields = {**outcome, "flags": tuple(outcome["flags"])}
    others = ", ".join(repr(name) for name, spec in views.items() if fields[f"has_{_TRACKS[spec.stream]}"])
    hint = f"; ask for view={others} to use the rest of it" if others else ""
    for name, spec in views.items():
        track = _TRACKS[spec.stream]
        if not fields[f"has_{track}"]:
            raise MediaError(str(path), f"no-{track}", f"the file has no {track} track for {name!r}{hint}")
        if spec.stream == "video" and not fields["end"]:
            raise MediaError(str(path), "still", f"the file is one picture, without the motion of {name!r}{hint}")
        if track == "audio" and fields.get("silent"):
            raise MediaError(str(path), "silent", f"the file's sound is silent, so it has no {name!r}{hint}")
    known = {"id": f"{index:09d}", "path": str(path.absolute()), "start": 0.0, "duration": fields["end"]}
    names = {field.name for field in dataclasses.fields(Recording)}
    return Recording(**{name: value for name, value in {**fields, **known}.items() if name in names})
