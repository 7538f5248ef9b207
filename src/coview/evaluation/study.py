"""A study of two alternatives: which of two pictures has the colours that a computer made?

As Zhang, Isola & Efros (ECCV 2016) asked it: pairs of a photograph and the same one coloured anew, shown for a second.
Each participant gets a page that needs no network; what is true stands in key.json alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.identity import as_text
from coview.errors import MediaError, UsageError
from coview.evaluation.report import render
from coview.evaluation.study_design import Plan, Trial, plan, shuffled, trials
from coview.files import write_aside, written_whole
from coview.media.stills import read_full_still
from coview.objectives.colour import COLOUR_RANGE, join_within, split
from coview.objectives.colour_bins import colourful
from coview.painting.files import check_empty, pictures_in
from coview.painting.painter import Painter, Picture, as_picture, as_tensor
from coview.randomness import make_key, uniform

SIDE = 256  # pixels of a picture
_NAMES, _FALSE = 7710, 7711  # streams: opaque names, colours that nobody would believe
_GROSS = 0.5  # of the range of a and b, that such colours have
RULES = {
    "catch pairs answered wrongly": "more than 1",
    "share of answers on one side": "at least 37 of 40",
    "median answer": "under 250 ms after the pictures have gone",
    "invalid pairs (shown for less than 950 or more than 1,100 ms, or the page was left)": "more than 20 %",
}


@dataclass(frozen=True)
class Written:
    """What a study is: its plan, its pages and the key."""

    plan: Plan
    pages: list[Path]
    key: Path


def write_study(
    painters: Sequence[Painter],
    names: Sequence[str],
    place: Path,
    out: Path,
    participants: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Written, list[tuple[str, str]]]:
    """Write a page for every participant, the pictures and key.json into `out`; return them, and what was left out.

    Pictures of both kinds go one way: the square in the middle, `SIDE` pixels, its lightness and a colour, a PNG
    that is not compressed, so that its size says nothing, under a name that says nothing.

    Args:
        painters: one or more that make colour; `names` are for the key.
        place: a folder of pictures with colour.
        out: a folder that is empty or not there yet.

    Raises:
        UsageError: a model makes no colour; there are too few pictures or participants; something is in `out`.
    """
    if participants < 1:
        raise UsageError(f"--study {participants}: expected the number of participants, at least 1")
    if any(painter.paints != "colour" for painter in painters):
        raise UsageError("a study asks which colours are real: give models that make colour")
    check_empty(out)
    found, problems = _choose(place, plan(1 << 20, len(painters)).pictures, seed)
    planned = plan(len(found), len(painters))
    (out / "images").mkdir(parents=True)
    called: dict[tuple[int, int], str] = {}
    for item, (_, true) in enumerate(found[: planned.pictures]):
        progress(item, planned.pictures)
        for arm in _arms(item, planned, len(painters)):
            called[item, arm] = _write(out, true, _colour(true, arm, painters, seed, item), seed, (item, arm))
    progress(planned.pictures, planned.pictures)
    key: dict[str, Any] = {
        "seed": seed,
        "models": [{"name": name, "digest": one.model.digest} for name, one in zip(names, painters, strict=True)],
        "pictures": [as_text(name.as_posix()) for name, _ in found[: planned.pictures]],
        "pairs": {kind: getattr(planned, kind) for kind in ("practice", "test", "catch", "identity")},
        "excluded": RULES,
        "participants": {},
    }
    pages = []
    for number in range(participants):
        own = trials(planned, len(painters), seed, number)
        called_so = f"participant-{number + 1:03d}"
        key["participants"][called_so] = [vars(trial) for trial in own]
        page = render(
            "study.html.jinja", participant=called_so, pairs=[_shown(trial, called) for trial in own], side=SIDE
        )
        pages.append(out / f"{called_so}.html")
        write_aside(pages[-1], page)
    write_aside(out / "key.json", json.dumps(key, indent=1, ensure_ascii=False) + "\n")
    return Written(planned, pages, out / "key.json"), problems


def _choose(place: Path, most: int, seed: int) -> tuple[list[tuple[Path, Picture]], list[tuple[str, str]]]:
    """Return pictures with colour, drawn from all by the seed, with their names; and (file, reason) of others."""
    folder, files, problems = pictures_in(place)
    found: list[tuple[Path, Picture]] = []
    for name in (files[index] for index in shuffled(len(files), seed)):
        if len(found) == most:
            break
        try:
            found.append((name, _square(folder / name)))
        except (MediaError, UsageError) as error:
            problems.append((as_text(str(folder / name)), getattr(error, "message", str(error))))
    return found, problems


def _arms(item: int, planned: Plan, models: int) -> list[int]:
    """Return the forms in which a picture is written: -2 true, -1 grossly false, or by a model."""
    if item < planned.practice:
        return [-2, -1 if item % 2 == 0 else item // 2 % models]
    if item < planned.practice + planned.test:
        return [-2, *range(models)]
    return [-2, -1] if item < planned.pictures - planned.identity else [-2]


def _shown(trial: Trial, called: dict[tuple[int, int], str]) -> dict[str, Any]:
    """Return a pair as its page knows it: what is true is said of practice alone."""
    real = called[trial.picture, -2]
    made = real if trial.kind == "identity" else called[trial.picture, trial.model]
    pair = {"left": made if trial.fake_left else real, "right": real if trial.fake_left else made}
    return {**pair, "fake": "left" if trial.fake_left else "right"} if trial.kind == "practice" else pair


def _square(path: Path) -> Picture:
    """Return the square in the middle of a picture that has colour."""
    picture = read_full_still(path)
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    cut = as_tensor(picture[top : top + side, left : left + side])
    small = interpolate(cut, (SIDE, SIDE), mode="bilinear", antialias=True)
    if not bool(colourful(split(small.float() / 255, "colour") * COLOUR_RANGE)):
        raise UsageError("it has no colour that could be taken for false")
    return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())


def _colour(true: Picture, arm: int, painters: Sequence[Painter], seed: int, item: int) -> Tensor:
    """Return the colour (1, 2, SIDE, SIDE) of one form of a picture."""
    if arm == -1:
        drawn = uniform(make_key(seed, item), _FALSE, 1, 2, 3, 3) * 2 - 1
        return _GROSS * interpolate(drawn.sign(), (SIDE, SIDE), mode="bicubic")
    picture = true if arm == -2 else painters[arm].paint(true)
    return split(as_tensor(picture).float() / 255, "colour")


def _write(out: Path, true: Picture, colour: Tensor, seed: int, what: tuple[int, int]) -> str:
    """Write one form of a picture; return its name, which says nothing."""
    lightness = split(as_tensor(true).float() / 255, "lightness")
    name = f"{int(make_key(seed, _NAMES, *(part + 2 for part in what))) & (1 << 63) - 1:016x}.png"
    with written_whole(out / "images" / name) as aside:
        Image.fromarray(as_picture(join_within(lightness, colour))).save(aside, "PNG", compress_level=0)
    return name
