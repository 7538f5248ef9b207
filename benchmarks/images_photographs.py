"""Photographs for `images.py`, made of what a computer has: parts of real pictures, and large made ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE, LARGE = (500, 375), (2000, 1500)
_REAL = {
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
    "matplotlib": ("mpl-data/sample_data", ("grace_hopper.jpg",)),
    "skimage": ("data", ("astronaut.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "retina.jpg")),
}


def make_photographs(folder: Path, count: int, beside: Path | None = None) -> dict[str, int]:
    """Write JPEGs, quality 90, as FOLDER/KIND/CLASS/NAME.jpg, a class for each picture; return how many of which kind.

    Three quarters are 500 x 375 parts of real photographs, from a part of that size up to the largest there is, scaled
    down; the rest are 2000 x 1500, made (`natural`).

    Args:
        beside: a `site-packages` folder in which pictures are looked for too.
    """
    real = list(_real(beside))
    kinds = {"real": count * 3 // 4, "made": count - count * 3 // 4}
    for number in range(count):
        generator = np.random.default_rng(number)
        if number < kinds["real"]:
            name, picture = real[number % len(real)]
            path = folder / "real" / name / f"{number:04d}.jpg"
        else:
            path = folder / "made" / f"{number % 4}" / f"{number:04d}.jpg"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        made = _part(picture, generator) if number < kinds["real"] else Image.fromarray(natural(generator, number % 4))
        made.save(path.with_suffix(".part"), "JPEG", quality=90)
        path.with_suffix(".part").rename(path)
    return kinds


def natural(generator: np.random.Generator, colour: int) -> NDArray[np.uint8]:
    """Return discs that hide each other, their radii distributed as r^-3, over noise of spectrum 1/f: (H, W, 3)."""
    width, height = LARGE
    canvas = np.zeros((height, width, 3), np.float32)
    rows, columns = np.mgrid[:height, :width]
    tint = np.eye(3)[colour % 3] * 40 if colour < 3 else np.zeros(3)
    for _ in range(400):
        radius = 8 / np.sqrt(generator.uniform((8 / 500) ** 2, 1))
        x, y, grey = generator.uniform(0, width), generator.uniform(0, height), generator.uniform(20, 200)
        low, high = max(0, int(y - radius)), min(height, int(y + radius) + 1)
        left, right = max(0, int(x - radius)), min(width, int(x + radius) + 1)
        inside = (rows[low:high, left:right] - y) ** 2 + (columns[low:high, left:right] - x) ** 2 < radius**2
        canvas[low:high, left:right][inside] = grey + tint + generator.normal(0, 15, 3)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    noise = np.fft.irfft2(np.fft.rfft2(generator.normal(size=(height, width))) / frequency, (height, width))
    canvas += (noise / noise.std() * 15)[..., None]
    return canvas.clip(0, 255).astype(np.uint8)


def _real(beside: Path | None) -> Iterator[tuple[str, Image.Image]]:
    for package, (folder, names) in _REAL.items():
        found = importlib.util.find_spec(package)
        roots = [Path(found.origin).parent] if found and found.origin else [beside / package] if beside else []
        for path in (root / folder / name for root in roots for name in names):
            if path.is_file():
                yield path.stem, Image.open(path).convert("RGB")


def _part(picture: Image.Image, generator: np.random.Generator) -> Image.Image:
    least = max(SIZE[0] / picture.width, SIZE[1] / picture.height)
    share = generator.uniform(min(least, 1.0), 1.0)  # of the largest part with these proportions
    scale = share / least
    wide, high = SIZE[0] * scale, SIZE[1] * scale
    left, top = generator.uniform(0, picture.width - wide), generator.uniform(0, picture.height - high)
    return picture.resize(SIZE, Image.Resampling.LANCZOS, (left, top, left + wide, top + high))
