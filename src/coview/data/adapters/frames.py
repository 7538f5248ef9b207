"""Folders of frames with tables beside them, as robots' logs are kept: every folder that holds pictures is a recording.

    ROOT/[train|validation|test/]ANY/WAY/DOWN/0001.png 0002.png ... actions.csv states.npy

Pictures are taken in the order of the numbers in their names. A table (.csv, .parquet or .npy, `data.tracks`) has a row
for every picture, and becomes the track of its name. The film is written at the rate that the variant says, by default
`frames:10`, or at the times of a table that has a column "time". Odd sides lose a row or column of pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coview.data.adapters import Item, Made, Options, Refused
from coview.data.adapters.folder import STILLS
from coview.data.adapters.official import Download
from coview.data.identity import as_text, kept_name
from coview.data.recording import SPLITS
from coview.data.tracks import Series, read_series, write_series
from coview.errors import MediaError, UsageError
from coview.media.encode import write_clip
from coview.media.stills import read_full_still

WHERE = (
    "Every folder below it with pictures is a recording; tables beside them are its tracks: actions.csv, states.npy."
)
_TABLES = (".csv", ".parquet", ".npy")
_RATE = 10.0
_QUALITY = 12  # constant rate factor, of small pictures
_MOST_BYTES = 1 << 31  # of a recording's pictures in memory


def make(out: Path, options: Options) -> Made:
    """Write each folder of pictures as a film below `out`, with its tables; a film that is there is kept.

    A folder whose pictures differ in size, or with a table of another length, is refused, and named.

    Raises:
        UsageError: no folder, no pictures in it, or a variant that is no rate.
    """
    rate = _rate(options.variant)
    source = Download("frames", options, WHERE)
    folders: dict[Path, list[Path]] = {}
    for path in source.below.files:
        folders.setdefault(path.parent, []).append(path)
    films = {folder: files for folder, files in sorted(folders.items()) if any(map(_is_picture, files))}
    if not films:
        raise UsageError(f"frames: {source.root} holds no pictures. {WHERE}")
    items, refused = [], list(source.refused)
    for done, (folder, files) in enumerate(films.items()):
        # What lies in the folder itself has no name of its own.
        called = folder if folder.parts else next(name for name in map(Path, _own_names()) if name not in films)
        try:
            tables = _write(source.root, out / called, files, rate)
        except MediaError as error:
            path = Path(error.path)
            name = path.relative_to(source.root) if path.is_relative_to(source.root) else folder
            refused.append(Refused(path=kept_name(name), reason=error.reason, message=error.message))
        else:
            split = folder.parts[0] if folder.parts and folder.parts[0] in SPLITS else None
            tracks = {name: path.relative_to(out) for name, path in tables.items()}
            film = _film(out / called).relative_to(out)
            items.append(Item(path=film, id=as_text(called.as_posix()), split=split, tracks=tracks))
        options.progress(done + 1, len(films))
    return Made(items=items, root=out, refused=refused, report={"films": len(items)}, notes=source.below.notes())


def _rate(variant: str) -> float:
    try:
        rate = float(variant or _RATE)
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e4:
        raise UsageError(
            f"frames:{variant}: what follows the colon is how many pictures there are in a second, as in frames:10"
        )
    return rate


def _own_names() -> Iterator[str]:
    yield "film"
    yield from (f"film-{number}" for number in count(2))


def _is_picture(path: Path) -> bool:
    return re.fullmatch(STILLS, path.suffix.lower()) is not None


def _film(place: Path) -> Path:
    return place.with_name(f"{place.name}.mp4")


def _write(root: Path, place: Path, files: Sequence[Path], rate: float) -> Mapping[str, Path]:
    """Write one film and its tables beside `place`; return the tables by name."""
    pictures = sorted(filter(_is_picture, files), key=_numbered)
    tables: dict[str, Series] = {}
    for file in files:
        if file.suffix.lower() in _TABLES:
            if file.stem in tables:
                raise MediaError(
                    str(root / file), "twice", f"there is another table called {file.stem!r}; keep one of them"
                )
            tables[file.stem] = _table(root / file, len(pictures))
    known = [table.times for table in tables.values() if table.times is not None]
    times = known[0] - known[0][0] if known else np.arange(len(pictures)) / rate
    for other in known[1:]:
        if not np.allclose(other - other[0], times, rtol=0, atol=1e-6):
            raise MediaError(str(root / files[0].parent), "other-times", "its tables give the pictures different times")
    written = {name: place.with_name(f"{_film(place).stem}.{name}.csv") for name in tables}
    place.parent.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_series(written[name], table.values, times)
    if not _film(place).is_file():
        film = torch.from_numpy(_stacked([root / file for file in pictures])).permute(3, 0, 1, 2)
        write_clip(_film(place), film, rate, None, None, crf=_QUALITY, times=torch.from_numpy(times))
    return written


def _table(path: Path, rows: int) -> Series:
    table = read_series(path)
    if len(table.values) != rows:
        raise MediaError(
            str(path), "other-length",
            f"it has {len(table.values)} rows, and there are {rows} pictures beside it; give every picture a row",
        )  # fmt: skip
    return table


def _stacked(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Return pictures as uint8 (T, H, W, 3), both sides even."""
    first = read_full_still(paths[0])
    if first.nbytes * len(paths) > _MOST_BYTES:
        raise MediaError(
            str(paths[0].parent), "too-large", f"{len(paths)} pictures of {first.shape[1]} x {first.shape[0]}; cut it"
        )
    height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2
    if not height or not width:
        raise MediaError(str(paths[0]), "too-small", f"{first.shape[1]} x {first.shape[0]} pixels; a film needs 2 x 2")
    film = np.empty((len(paths), height, width, 3), np.uint8)
    for number, path in enumerate(paths):
        picture = read_full_still(path) if number else first
        if picture.shape != first.shape:
            raise MediaError(
                str(path), "other-size",
                f"{picture.shape[1]} x {picture.shape[0]} pixels, where the first picture has {first.shape[1]} x "
                f"{first.shape[0]}",
            )  # fmt: skip
        film[number] = picture[:height, :width]
    return film


def _numbered(path: Path) -> list[tuple[bool, int, str]]:
    """Return what puts file names in the order of their numbers: img2 before img10."""
    parts = [(part.isdecimal(), part) for part in re.split(r"([0-9]+)", path.name)]  # the sign of a square is no number
    return [(not number, int(part) if number else 0, part) for number, part in parts]
