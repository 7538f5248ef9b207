"""A recording's raw views, cut in the process that decodes; the server gives them to its model as plain arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coview.errors import MediaError

MOST_WINDOWS = 400
_BYTES = 1 << 28  # of the raw views of all windows together
_STILL = 1024  # pixels of the longer side of a photograph
_BLACK, _PLAIN = 24, 1.0  # a picture's brightest value, and a deviation, of 255, below which nothing is seen


def cut(
    path: Path, out: Path, views: Mapping[str, Any], windows: int, recording: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Write what a file has of some views, evenly spaced, as arrays: NAME, NAME.present, NAME.start, NAME.length.

    Of a photograph also `still`, uint8 (H, W, 3): a model of films is shown it standing still.

    Args:
        views: name -> the raw view as plain data.
        windows: how many; 0 for as many as lie a quarter of the shortest view apart.
        recording: the fields of one of the collection, or of a span of it; None for a file that has to be probed.

    Returns:
        `picture`, `sound`: whether it has them; `seconds`; `remarks` for people.

    Raises:
        MediaError: the file cannot be read, or has none of the views.
    """
    import torch

    from coview.data.collection import Collection
    from coview.data.identity import kept_name
    from coview.data.media_source import MediaSource
    from coview.data.recording import Recording
    from coview.data.timeline import Timelines
    from coview.data.views import read_view
    from coview.media.stills import read_full_still
    from coview.model.media import as_recording

    if recording is None:
        known, _ = as_recording(0, path)
    else:
        lists = {name: tuple(value) for name, value in recording.items() if isinstance(value, list)}
        known = Recording(**{**recording, **lists, "path": kept_name(path.absolute())})
    wanted = {name: read_view(fields) for name, fields in views.items()}
    collection = Collection.of([known])
    there = Timelines(collection.table)
    usable = {name: view for name, view in wanted.items() if bool(view.has(there)[0])}
    arrays: dict[str, NDArray[Any]] = {}
    remarks: list[str] = []
    if known.has_video and not known.duration:
        shown = Image.fromarray(read_full_still(path))
        shown.thumbnail((_STILL, _STILL))
        arrays["still"] = np.asarray(shown)
    elif not usable:
        if known.silent:
            raise MediaError(str(path), "silent", "there is nothing to hear in it: its sound is silent")
        raise MediaError(str(path), "no-streams", "it has neither picture nor sound that this model knows")
    if usable:
        source = MediaSource(collection, usable)
        size = sum(view.room(1).numel() * view.room(1).element_size() for view in usable.values())
        count = min(windows or _dense(known.duration, usable), MOST_WINDOWS, max(1, _BYTES // max(1, size)))
        batches = source.read_windows(torch.tensor([0]), range(count), count)
        for _, reason in (problem for batch in batches for problem in batch.replaced):
            raise MediaError(str(path), reason, "a cut of it could not be decoded")
        for name in usable:
            arrays[name] = torch.cat([batch.views[name] for batch in batches]).numpy()
            arrays[f"{name}.present"] = torch.cat([batch.present[name] for batch in batches]).numpy()
            arrays[f"{name}.start"] = torch.cat([batch.start[name] for batch in batches]).numpy()
            if name in batches[0].length:
                arrays[f"{name}.length"] = torch.cat([batch.length[name] for batch in batches]).numpy()
    pictures = [arrays[name] for name, view in usable.items() if view.medium == "picture"]
    remarks += _unseen([arrays["still"]] if "still" in arrays else pictures)
    if known.has_audio and known.silent:
        remarks.append("There is nothing to hear in it: its sound is silent.")
    with out.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    return {"picture": known.has_video, "sound": known.has_audio, "seconds": known.duration, "remarks": remarks}


def _dense(seconds: float, views: Mapping[str, Any]) -> int:
    shortest = min((view.seconds for view in views.values() if view.seconds), default=1.0)
    return 1 + max(0, math.ceil((seconds - shortest) / (shortest / 4)))


def _unseen(pictures: list[NDArray[Any]]) -> list[str]:
    seen = [picture for picture in pictures if picture.dtype == np.uint8 and picture.size]
    if not seen:
        return []
    if all(picture.max() < _BLACK for picture in seen):
        return ["There is nothing to see in it: its picture is black."]
    if all(picture.std() < _PLAIN for picture in seen):
        return ["There is nothing to see in it: its picture is of one colour."]
    return []
