"""Photographs into training: how sharp random crops are, how many a CPU-second yields, beside lightly's loader.

    python benchmarks/images.py --peer VENV/bin/python [--folder FOLDER] [--rounds 5] [--samples 256]

Photographs are made once in the folder (`images_photographs.py`): 500 x 375, and 2000 x 1500. Sharpness: mean
|Laplacian| of crops of .08 to 1 of the picture, without any other change, beside torchvision's RandomResizedCrop on the
same photographs. Rate: samples of two such crops per CPU-second (user + system time), with flips, colour jitter, grey,
blur and normalisation as in SimCLR, in one process without workers and with one thread; the loaders take turns in one
run.

`--peer` is the Python of a virtual environment of its own that has lightly; without one its columns are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images_common import cpu_seconds
from images_photographs import make_photographs
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from coview.data.augment.settings import PRESETS
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.preprocess import Preprocess
from coview.data.source import cropped, sample_keys
from coview.data.views import ImageView, raw_views

AREA, BATCH = (0.08, 1.0), 64


def laplacian(picture: np.ndarray[Any, Any]) -> float:
    """Return the mean |Laplacian| of the mean of red, green and blue (H, W, 3)."""
    grey = picture.astype(np.float64).mean(-1)
    middle, around = grey[1:-1, 1:-1], grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.abs(4 * middle - around).mean())


def sharpness(collection: Collection, size: int, draws: int) -> dict[str, Any]:
    """Compare crops of every photograph: the ratio of the mean Laplacians, and its 95 % interval over photographs."""
    view = ImageView(size=size, area=AREA)
    source = cropped(MediaSource(collection, {"image": view}), {"image": view}, PRESETS["none"])
    crop, rows = RandomResizedCrop(size, scale=AREA), torch.arange(len(source))
    ours, theirs = np.zeros((2, len(source), draws))
    torch.manual_seed(0)
    for draw in range(draws):
        for some in rows.split(50):
            batch = source.read(some, sample_keys(draw, 0, some)).views["image"]
            ours[some, draw] = [laplacian(picture[:, 0].permute(1, 2, 0).numpy()) for picture in batch]
    for row, name in enumerate(source.ids):
        picture = Image.open(Path(collection.root) / name).convert("RGB")
        theirs[row] = [laplacian(np.asarray(crop(picture))) for _ in range(draws)]
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(rows), (1000, len(rows)))
    noise = generator.integers(0, draws, (2, 1000, len(rows), draws))
    spread = [
        np.take_along_axis(ours[pick], one, 1).mean() / np.take_along_axis(theirs[pick], other, 1).mean()
        for pick, one, other in zip(picks, *noise, strict=True)
    ]
    return {"ratio": ours.mean() / theirs.mean(), "interval": np.percentile(spread, [2.5, 97.5]).tolist()}


class Peer:
    """lightly in a process of its own (`images_peer.py`), asked line by line."""

    def __init__(self, python: Path) -> None:
        script = Path(__file__).with_name("images_peer.py")
        self.process = subprocess.Popen([python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question: Any) -> dict[str, Any]:
        """Return the answer to a question."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


def peer_of(python: Path | None) -> Peer | None:
    """Return lightly, or say why there is none."""
    if python is None or subprocess.run([python, "-c", "import lightly"], check=False, capture_output=True).returncode:
        print(
            f"{python or 'no --peer'}: no Python with lightly, so that nothing is measured beside it", file=sys.stderr
        )
        return None
    return Peer(python)


def per_second(source: MediaSource, views: dict[str, Any], samples: int, seed: int, prepare: bool) -> float:
    """Return the samples per CPU-second of coview's loader, with or without what is left to the device."""
    preprocess = Preprocess(views, PRESETS["swav"])
    loader = Loader(cropped(source, views, PRESETS["swav"]), batch_size=BATCH, seed=seed)
    begin = cpu_seconds()
    for batch in islice(loader.stream(0), samples // BATCH):
        if prepare:
            preprocess(batch, train=True)
    return samples // BATCH * BATCH / (cpu_seconds() - begin)


def rates(folder: Path, collection: Collection, size: int, peer: Peer | None, rounds: int, samples: int) -> Any:
    """Measure by turns; the median of the rounds, and of the ratios of each round."""
    view = ImageView(size=size, area=AREA)
    views = {"image": view, "image_2": dataclasses.replace(view, of="image")}
    source = MediaSource(collection, raw_views(views))
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):  # the first one warms up
        now = {"loader": per_second(source, views, samples, number, False)}
        now["loader and preprocess"] = per_second(source, views, samples, number, True)
        if peer:
            ask = {"what": "load", "folder": str(folder), "size": size, "area": AREA, "batch": BATCH}
            now["lightly"] = peer.ask(**ask, samples=samples, seed=number)["per_second"]
            now["ratio of loaders"] = now["loader"] / now["lightly"]
            now["ratio with preprocess"] = now["loader and preprocess"] / now["lightly"]
        for name, value in now.items() if number else ():
            found.setdefault(name, []).append(value)
    return {
        name: [round(value, 2) for value in (statistics.median(values), min(values), max(values))]
        for name, values in found.items()
    }


def main() -> None:
    """Make the photographs, measure, print a line of JSON for each kind and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "coview-benchmark-images")
    parser.add_argument("--peer", type=Path, help="the Python of a virtual environment with lightly")
    parser.add_argument("--pictures-beside", type=Path, help="a site-packages folder with further photographs")
    parser.add_argument("--photographs", type=int, default=300)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 224])
    parser.add_argument("--draws", type=int, default=8, help="crops of each photograph whose sharpness is measured")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=256)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    photographs, peer = arguments.folder / "photographs", peer_of(arguments.peer)
    kinds = make_photographs(photographs, arguments.photographs, arguments.pictures_beside)
    print(json.dumps({"photographs": kinds}))
    for kind in kinds:
        collection = index_source(
            str(photographs / kind), arguments.folder / f"{kind}-index", workers=0, overwrite=True
        )
        for size in arguments.sizes:
            found: dict[str, Any] = {"photographs": kind, "size": size}
            if arguments.rounds:
                samples = arguments.samples if kind == "real" else BATCH
                found |= rates(photographs / kind, collection, size, peer, arguments.rounds, samples)
            if arguments.draws:
                found["sharpness / torchvision's"] = sharpness(collection, size, arguments.draws)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
