"""Photographs that everyone can get, for painting: squares of 128 pixels and their collection.

    apt-get download mate-backgrounds opencv-doc && for file in *.deb; do dpkg-deb -x $file UNPACKED; done
    python benchmarks/photographs.py FOLDER --packages UNPACKED --beside SITE_PACKAGES_WITH_SCIKIT_IMAGE
    bash benchmarks/pictures.sh photographs FOLDER   # trains colorization and context-encoder, three seeds
    python benchmarks/picture_sheet.py FOLDER/photographs FOLDER/collection -o docs/pages/paint-photographs

Learnt from: photographs of the Debian packages mate-backgrounds (GPL-2+) and opencv-doc (Apache-2.0), squares of many
sizes cut at random. Held out are whole photographs of scikit-image, scikit-learn and matplotlib: of each the square in
the middle and the four quarters of it. Nothing of them is kept here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from coview.data.index import index_source

SIDE, SQUARES = 128, 64  # pixels, and squares of each photograph that is learnt from
LEARNT = {
    "usr/share/backgrounds/mate/nature": (
        "Aqua", "Blinds", "Dune", "FreshFlower", "Garden", "GreenMeadow", "LadyBird", "RainDrops", "Storm", "TwoWings",
        "Wood", "YellowFlower",
    ),
    "usr/share/doc/opencv-doc/examples": (
        "alphamat/input_images/plant", "data/aero1", "data/aloeL", "data/apple", "data/building", "data/butterfly",
        "data/ela_original", "data/fruits", "data/home", "data/left", "data/leuvenA", "data/messi5", "data/orange",
        "data/squirrel_cls", "data/stuff", "data/licenseplate_motion", "hfs/data/000", "hfs/data/001", "hfs/data/002",
    ),
}  # fmt: skip
# Public domain or CC0, but for china and flower: CC BY 2.0.
HELD_OUT = {
    "skimage/data": ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"),
    "sklearn/datasets/images": ("china.jpg", "flower.jpg"),
    "matplotlib/mpl-data/sample_data": ("grace_hopper.jpg",),
}
Box = tuple[float, float, float, float]


def learnt(packages: Path) -> Iterator[Path]:
    """Yield the photographs of unpacked Debian packages."""
    for folder, names in LEARNT.items():
        for name in names:
            yield packages / folder / f"{name}.jpg"


def held_out(beside: Path | None) -> Iterator[Path]:
    """Yield the photographs of Python packages, where they are installed or in another `site-packages`."""
    for folder, names in HELD_OUT.items():
        package, _, rest = folder.partition("/")
        found = importlib.util.find_spec(package)
        root = Path(found.origin).parent if found and found.origin else Path(beside or ".") / package
        yield from (root / rest / name for name in names)


def random_squares(width: int, height: int, generator: np.random.Generator) -> list[Box]:
    """Return squares of any size from 128 pixels up to the whole shorter side, sizes even in their logarithm."""
    sides = np.exp(generator.uniform(np.log(SIDE), np.log(min(width, height)), SQUARES))
    lefts, tops = (generator.uniform(0, 1, SQUARES) * (length - sides) for length in (width, height))
    return [(left, top, left + side, top + side) for left, top, side in zip(lefts, tops, sides, strict=True)]


def middle_and_quarters(width: int, height: int) -> list[Box]:
    """Return the square in the middle and its four quarters."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    places = [(left + dx * side, top + dy * side) for dy in (0, 0.5) for dx in (0, 0.5)]
    return [(left, top, left + side, top + side), *((x, y, x + side / 2, y + side / 2) for x, y in places)]


def prepare(out: Path, packages: Path, beside: Path | None) -> None:
    """Write the squares, their manifest and their collection."""
    lines = []
    parts = {"train": list(learnt(packages)), "test": list(held_out(beside))}
    for part, paths in parts.items():
        for number, path in enumerate(paths):
            photograph = Image.open(path).convert("RGB")
            generator = np.random.default_rng(number)
            train = part == "train"
            boxes = random_squares(*photograph.size, generator) if train else middle_and_quarters(*photograph.size)
            for place, box in enumerate(boxes):
                name = f"{path.stem}-{place:02d}"
                target = out / "pictures" / f"{name}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                photograph.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box).save(target)
                lines.append({"path": str(target.relative_to(out)), "id": name, "split": part, "group": path.stem})
    manifest = out / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    collection = index_source(str(manifest), out / "collection", workers=0)
    print(f"{len(collection)} squares of {len(parts['train'])} and {len(parts['test'])} photographs")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--packages", type=Path, default=Path("/"), help="where the Debian packages are unpacked")
    parser.add_argument("--beside", type=Path, help="a site-packages folder that has scikit-image")
    arguments = parser.parse_args()
    prepare(arguments.folder, arguments.packages, arguments.beside)


if __name__ == "__main__":
    main()
