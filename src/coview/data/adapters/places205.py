"""Places205 (Zhou et al., NeurIPS 2014): scenes in 205 classes by the official lists, a path and a number a line."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path, PurePosixPath

from coview.data.adapters import Made, Options
from coview.data.adapters.official import Download
from coview.errors import UsageError

WHERE = (
    "The pictures of 256 pixels (imagesPlaces205_resize.tar.gz) and the lists (trainvalsplit_places205.tar.gz) are at "
    "http://places.csail.mit.edu/; the folder holds train_places205.csv, val_places205.csv, and the pictures as the "
    "lists call them, such as a/abbey/gsun_x.jpg, below images256/ at any depth or beside the lists."
)
OFFICIAL = {"train": 2448873, "val": 20500, "classes": 205}
_SPLITS = {"train": "train", "val": "test"}  # the test part has no public truth: published figures are of val


def make(out: Path, options: Options) -> Made:
    """Return the items; the label is the scene, such as "abbey"; the official val part is the part "test".

    Raises:
        UsageError: unknown variant, a list is missing, or no file at all.
    """
    if options.variant:
        raise UsageError(f"places205:{options.variant}: expected places205")
    download = Download("places205", options, WHERE)
    pictures = {_below(path): path for path in download.below.files}
    lines = {part: download.lines(f"{part}_places205.csv") for part in _SPLITS}
    scenes = _scenes([line for part in lines.values() for line in part])
    for part, split in _SPLITS.items():
        for line in lines[part]:
            match = _parsed(line)
            if match is None or scenes.get(match[1]) != match[0].partition("/")[2].rpartition("/")[0]:
                download.bad_line(part, line, "a path such as a/abbey/gsun_x.jpg and the number of its scene, 0 to 204")
                continue
            item = {"id": match[0], "label": scenes[match[1]], "split": split}
            download.add(part, pictures.get(match[0]), match[0], item)
    download.listed["classes"] = len(scenes)
    return download.made(OFFICIAL, options)


def _below(path: Path) -> str:
    """Return a picture's name as the lists have it: what comes behind images256/."""
    parts = path.parts
    return "/".join(parts[parts.index("images256") + 1 :] if "images256" in parts else parts)


def _parsed(line: str) -> tuple[str, int] | None:
    """Return a line's path and number."""
    match = re.fullmatch(r"/?([a-z]/\S.*)[ ,]([0-9]{1,3})", line)
    return None if match is None or ".." in PurePosixPath(match[1]).parts else (match[1], int(match[2]))


def _scenes(lines: list[str]) -> dict[int, str]:
    """Return number -> scene, by what most lines of a number say."""
    said: dict[int, Counter[str]] = {}
    for match in filter(None, map(_parsed, lines)):
        said.setdefault(match[1], Counter())[match[0].partition("/")[2].rpartition("/")[0]] += 1
    return {
        number: scenes.most_common(1)[0][0] for number, scenes in sorted(said.items()) if number < OFFICIAL["classes"]
    }
