"""Robot pushing (Finn, Goodfellow & Levine, NeurIPS 2016), as it is published: TFRecord files, a push in each record.

    ROOT/push/push_train/push_train.tfrecord-00000-of-00264 ... push_testseen/ push_testnovel/

Each step k of a push has move/k/image/encoded (JPEG), move/k/commanded_pose/vec_pitch_yaw (the action) and
move/k/endeffector/vec_pitch_yaw (the state), five numbers each. A push becomes a film of ten pictures a second with the
tables "actions" and "states". "testseen" (objects of the training part) is the part "validation", "testnovel" "test".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch

from coview.data.adapters import Item, Made, Options, Refused
from coview.data.adapters.official import Download
from coview.data.adapters.tfrecords import features_of, read_records
from coview.data.identity import kept_name
from coview.data.tracks import write_series
from coview.errors import MediaError, UsageError
from coview.media.encode import write_clip
from coview.media.jpeg import decode

WHERE = (
    "The records are at https://sites.google.com/site/brainrobotdata/home/push-dataset; the folder holds "
    "push_train/, push_testseen/ and push_testnovel/ at any depth, with files such as "
    "push_train.tfrecord-00000-of-00264."
)
_SPLITS = {"train": "train", "testseen": "validation", "testnovel": "test"}
_TABLES = {"actions": "move/{}/commanded_pose/vec_pitch_yaw", "states": "move/{}/endeffector/vec_pitch_yaw"}
_PICTURE = "move/{}/image/encoded"
_RATE = 10.0
_QUALITY = 16  # constant rate factor
_MOST_STEPS, _MOST_FILES = 1000, 100000


def make(out: Path, options: Options) -> Made:
    """Write each push as a film below `out` with its tables, and return the items; a film that is there is kept.

    Raises:
        UsageError: unknown variant, or no file of records.
    """
    if options.variant:
        raise UsageError(f"pushing:{options.variant}: expected pushing")
    source = Download("pushing", options, WHERE)
    files = [(path, match[1]) for path in sorted(source.below.files) if (match := _part(path))]
    if not files:
        raise UsageError(f"pushing: {source.root} holds no push_train.tfrecord-00000-of-00264 or the like. {WHERE}")
    items: list[Item] = []
    refused = list(source.refused)
    for done, (path, part) in enumerate(files):
        try:
            for number, record in enumerate(read_records(source.root / path)):
                if options.count is not None and len(items) >= options.count:
                    break
                place = out / part / f"{path.name.partition('tfrecord-')[2]}-{number:04d}"
                try:
                    items.append(_push(record, place, out, _SPLITS[part]))
                except MediaError as error:
                    refused.append(
                        Refused(path=kept_name(path / str(number)), reason=error.reason, message=error.message)
                    )
        except MediaError as error:  # what came before it stays
            refused.append(Refused(path=kept_name(path), reason=error.reason, message=error.message))
        options.progress(done + 1, len(files))
    report = {"pushes": len(items), "files": {part: sum(each == part for _, each in files) for part in _SPLITS}}
    return Made(
        items=items, root=out, refused=refused, report=report,
        notes=[*source.below.notes(), *_lacking([path.name for path, _ in files])],
    )  # fmt: skip


def _lacking(names: Sequence[str]) -> list[str]:
    """Return sentences about files that the names of the others, "00003-of-00264", say there are."""
    said = []
    for part in _SPLITS:
        own = [match for name in names if (match := re.fullmatch(rf"push_{part}\.tfrecord-([0-9]+)-of-([0-9]+)", name))]
        if not own:
            said.append(f"push_{part}: none of its files is there")
            continue
        there, count = {int(match[1]) for match in own}, max(int(match[2]) for match in own)
        if missing := [number for number in range(min(count, _MOST_FILES)) if number not in there]:
            said.append(f"push_{part}: {len(missing)} of {count} files are not there, such as number {missing[0]}")
    return said


def _part(path: Path) -> re.Match[str] | None:
    return re.fullmatch(r"push_(train|testseen|testnovel)\.tfrecord-[0-9]+-of-[0-9]+", path.name)


def _push(record: bytes, place: Path, out: Path, split: str) -> Item:
    try:
        features = features_of(record)
    except (ValueError, KeyError) as error:
        raise MediaError(str(place), "damaged", f"the record is no Example ({error})") from error
    steps = next((k for k in range(_MOST_STEPS) if _PICTURE.format(k) not in features), _MOST_STEPS)
    if steps < 2:
        raise MediaError(str(place), "damaged", f"it has {steps} pictures called {_PICTURE.format('0')} and so on")
    tables = {name: _table(features, form, steps, place) for name, form in _TABLES.items()}
    film, times = place.with_name(f"{place.name}.mp4"), np.arange(steps) / _RATE
    place.parent.mkdir(parents=True, exist_ok=True)
    for name, values in tables.items():
        write_series(place.with_name(f"{place.name}.{name}.csv"), values, times)
    if not film.is_file():
        write_clip(film, _film(features, steps, place), _RATE, None, None, crf=_QUALITY)
    tracks = {name: place.with_name(f"{place.name}.{name}.csv").relative_to(out) for name in tables}
    return Item(path=film.relative_to(out), id=place.relative_to(out).as_posix(), split=split, tracks=tracks)


def _table(features: Mapping[str, Any], form: str, steps: int, place: Path) -> Any:
    rows = [features.get(form.format(k)) for k in range(steps)]
    known = [row for row in rows if isinstance(row, np.ndarray) and row.dtype == np.float32]
    if len(known) < steps or len({len(row) for row in known}) != 1 or not len(known[0]):
        raise MediaError(str(place), "other-length", f"{form.format('k')} is not there at each of {steps} steps")
    values = np.stack(known)
    if not np.isfinite(values).all():
        raise MediaError(str(place), "damaged", f"{form.format('k')} holds NaN or infinity")
    return values


def _film(features: Mapping[str, Any], steps: int, place: Path) -> torch.Tensor:
    """Return the pictures uint8 (3, T, H, W), both sides even."""
    data = [features[_PICTURE.format(k)] for k in range(steps)]
    if not all(isinstance(each, list) and len(each) == 1 for each in data):
        raise MediaError(str(place), "damaged", "a picture is no single JPEG")
    try:
        height, width = simplejpeg.decode_jpeg_header(data[0][0])[:2]
    except ValueError as error:
        raise MediaError(str(place), "undecodable", f"its first picture is no JPEG ({error})") from error
    frames = np.stack([decode(each[0], width, height, str(place)) for each in data])
    return torch.from_numpy(frames[:, : height // 2 * 2, : width // 2 * 2]).permute(3, 0, 1, 2)
