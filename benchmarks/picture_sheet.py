"""Held-out pictures painted by the runs of a comparison: a sheet to look at, and how far each fill is from the truth.

    python benchmarks/picture_sheet.py FOLDER/stamps-final FOLDER/collection -o docs/pages/paint-stamps

Writes OUT-colour.jpg and OUT-holes.jpg (the best and the middle pictures, and the whole worst tenth, by the error of
the first painter) and prints the squared error inside of centre holes beside OpenCV's two fillings and the mean of what
is around (OpenCV: `pip install 'coview[tracking]'`). Means over test pictures and seeds; intervals resample groups of
pictures, such as the squares of one photograph.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from coview.data.collection import Collection
from coview.media.stills import read_full_still
from coview.model import Model
from coview.objectives.colour import greyed
from coview.painting.painter import Painter, as_picture, as_tensor

SHOWN, MARGIN, LINE = 96, 4, 14  # pixels of a picture, between pictures, and of a line of words
ENDS = 4  # of the best and of the middle
Picture = NDArray[np.uint8]


def painters(runs: Path, paints: str) -> dict[str, list[Painter]]:
    """Return the painters of a comparison by method, one for each seed."""
    found: dict[str, list[Painter]] = {}
    for run in sorted(runs.glob("runs/*.pairs.*/run")):
        model = Model.from_run(run)
        if model.method.paints == paints:
            found.setdefault(run.parent.name.split(".")[0], []).append(Painter(model))
    return found


def held_out(place: Path) -> Iterator[tuple[Picture, str]]:
    """Yield the test pictures of a collection and their groups."""
    collection = Collection.open(place)
    for recording in collection.recordings:
        if recording.split == "test":
            yield read_full_still(collection.path(recording)), recording.group or recording.id


def centre(picture: Picture) -> NDArray[np.bool_]:
    """Return a hole of half of the side in the middle."""
    hole = np.zeros(picture.shape[:2], dtype=bool)
    height, width = hole.shape
    hole[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return hole


def classical(picture: Picture, hole: NDArray[np.bool_]) -> dict[str, Picture]:
    """Return what fills a hole without learning."""
    mean = picture.copy()
    mean[hole] = picture[~hole].mean(0).round().astype(np.uint8)
    mask = hole.astype(np.uint8)
    ways = {"Telea": cv2.INPAINT_TELEA, "Navier-Stokes": cv2.INPAINT_NS}
    return {"mean": mean} | {name: np.asarray(cv2.inpaint(picture, mask, 5, way)) for name, way in ways.items()}


def sheet(columns: list[str], rows: list[list[Picture]], marks: dict[int, str], path: Path) -> None:
    """Write pictures in rows below the names of their columns; `marks` stand over the row of their number."""
    width = len(columns) * (SHOWN + MARGIN) + MARGIN
    page = Image.new("RGB", (width, LINE * (1 + len(marks)) + len(rows) * (SHOWN + MARGIN) + MARGIN), "white")
    pen, top = ImageDraw.Draw(page), LINE
    for number, name in enumerate(columns):
        pen.text((MARGIN + number * (SHOWN + MARGIN), 1), name, fill="black")
    for number, row in enumerate(rows):
        if number in marks:
            pen.text((MARGIN, top + 1), marks[number], fill="black")
            top += LINE
        for column, picture in enumerate(row):
            small = Image.fromarray(picture).resize((SHOWN, SHOWN), Image.Resampling.LANCZOS)
            page.paste(small, (MARGIN + column * (SHOWN + MARGIN), top))
        top += SHOWN + MARGIN
    page.save(path, quality=88, subsampling=0)


def chosen(errors: NDArray[np.float64]) -> tuple[list[int], dict[int, str]]:
    """Return the pictures of a sheet by their errors, and what stands over their rows."""
    order = [int(place) for place in np.argsort(errors)]
    middle = (len(order) - ENDS) // 2
    worst = order[-max(1, len(order) // 10) :]
    marks = {0: f"best {ENDS} of {len(order)}", ENDS: f"middle {ENDS}", 2 * ENDS: f"worst tenth ({len(worst)})"}
    return [*order[:ENDS], *order[middle : middle + ENDS], *worst], marks


def error(made: Picture, truth: Picture, where: NDArray[np.bool_]) -> float:
    """Return the mean squared difference in [0, 1] of the places of a mask."""
    return float(np.square((made[where].astype(float) - truth[where]) / 255).mean())


def told(name: str, errors: NDArray[np.float64], groups: list[str]) -> str:
    """Return one line on errors (seeds, pictures)."""
    each, (known, place) = errors.mean(0), np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(place, each), np.bincount(place)
    rows = np.random.default_rng(0).integers(0, len(known), (2000, len(known)))
    low, high = np.quantile(sums[rows].sum(1) / counts[rows].sum(1), [0.025, 0.975])
    return f"{name:20} {each.mean():.4f} ({low:.4f} to {high:.4f})   by seed {np.round(errors.mean(1), 4).tolist()}"


def measure(
    pictures: list[Picture], models: dict[str, list[Painter]], paint: Callable[[Painter, Picture], Picture],
    where: Callable[[Picture], NDArray[np.bool_]],
) -> tuple[dict[str, list[Picture]], dict[str, NDArray[np.float64]]]:  # fmt: skip
    """Return what the first seed of each method makes, and the errors (seeds, pictures) of all."""
    made, errors = {}, {}
    for name, seeds in models.items():
        each = [[paint(painter, picture) for picture in pictures] for painter in seeds]
        made[name] = each[0]
        errors[name] = np.array(
            [[error(m, truth, where(truth)) for m, truth in zip(one, pictures, strict=True)] for one in each]
        )
    return made, errors


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument("-o", "--out", required=True, help="what the names of both sheets begin with")
    arguments = parser.parse_args()
    pictures, groups = map(list, zip(*held_out(arguments.collection), strict=True))
    greys = [as_picture(greyed(as_tensor(picture).float() / 255)) for picture in pictures]

    colours = painters(arguments.runs, "colour")
    made, errors = measure(pictures, colours, lambda painter, picture: painter.paint(picture), lambda p: p[..., 0] >= 0)
    rows, marks = chosen(next(iter(errors.values())).mean(0))
    columns = ["lightness", *made, "truth"]
    table = [[greys[row], *(each[row] for each in made.values()), pictures[row]] for row in rows]
    sheet(columns, table, marks, Path(f"{arguments.out}-colour.jpg"))

    fillers = painters(arguments.runs, "holes")
    made, errors = measure(pictures, fillers, lambda painter, picture: painter.paint(picture, centre(picture)), centre)
    plain = [classical(picture, centre(picture)) for picture in pictures]
    for name in plain[0]:
        made[name] = [each[name] for each in plain]
        errors[name] = np.array([[error(m, p, centre(p)) for m, p in zip(made[name], pictures, strict=True)]])
    print(f"squared error in a centre hole of half of the side, {len(pictures)} pictures in {len(set(groups))} groups")
    print("\n".join(told(name, each, groups) for name, each in errors.items()))
    rows, marks = chosen(next(iter(errors.values())).mean(0))
    dug = [np.where(centre(picture)[..., None], np.uint8(119), picture) for picture in pictures]
    columns = ["hole", *made, "truth"]
    table = [[dug[row], *(each[row] for each in made.values()), pictures[row]] for row in rows]
    sheet(columns, table, marks, Path(f"{arguments.out}-holes.jpg"))


if __name__ == "__main__":
    main()
