"""SimCLR, VICReg and SwAV beside lightly's: one folder, network, crops and number of steps; rate, loss, neighbours.

    python benchmarks/images_training.py --peer VENV/bin/python [--folder FOLDER] [--steps 12] [--methods swav]

The photographs of `images.py` (its `--folder`, made by it before), torchvision's ResNet-18 with random weights,
pictures of 64 x 64 (SwAV: and two of 32 x 32), Adam at 0.001, batches of 32, one thread, no workers. A longer run:
`--steps 2000`.

Rate: samples per CPU-second, reading included. Neighbours: photographs whose 5 nearest others vote for their class (a
class holds parts of one photograph, which overlap: an easy test), in features before the head, before and after
training. lightly's SimCLR compares all crops with each other (NT-Xent), `infonce` the first crops with the second ones;
lightly's heads are its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from images import Peer, peer_of
from images_common import centre_crops, cpu_seconds, neighbours

from coview.data.augment.settings import PRESETS
from coview.data.collection import Collection
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.preprocess import Preprocess
from coview.data.source import cropped
from coview.data.views import ImageView, raw_views
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.methods.parts.crops import SmallCrops

SIZE, BATCH = 64, 32
SMALL = SmallCrops(number=2, size=32, area=(0.05, 0.14))
AREAS = {"infonce": (0.08, 1.0), "vicreg": (0.08, 1.0), "swav": (0.14, 1.0)}


def settings_of(slug: str) -> Any:
    """Return settings as lightly's: heads of its sizes, two crops, temperature fixed."""
    kind, view = load_method(slug).Settings, ImageView(size=SIZE, area=AREAS[slug])
    if slug == "swav":
        return kind(view=view, encoder="resnet-18", small=SMALL, hidden=(512,), prototypes=100, freeze=0)
    own = {"temperature": 0.1, "learn_temperature": False} if slug == "infonce" else {}
    return kind(image=view, views=("image", "image_2"), image_encoder="resnet-18", hidden=(512,), embedding=128, **own)


def train(collection: Collection, slug: str, steps: int, seed: int) -> dict[str, Any]:
    """Train a method of coview's."""
    torch.manual_seed(seed)
    method = build(slug, settings_of(slug), Facts(rows=len(collection), classes=0))
    source = MediaSource(collection, raw_views(method.views))
    loader = Loader(cropped(source, method.views, PRESETS["swav"]), batch_size=BATCH, seed=seed)
    preprocess, encoder = Preprocess(method.views, PRESETS["swav"]), method.encoders["image"]
    pictures, classes = centre_crops(Path(collection.root), SIZE)

    def found() -> float:
        encoder.eval()
        share = neighbours(encoder, pictures, classes)
        encoder.train()
        return share

    before, losses, begin = found(), [], cpu_seconds()
    optimiser = torch.optim.Adam(method.parameters(), lr=1e-3)
    for batch, _ in zip(loader.stream(0), range(steps), strict=False):
        batch = dataclasses.replace(preprocess(batch, train=True), epochs=1, steps=steps)
        optimiser.zero_grad()
        loss = method(batch).loss
        loss.backward()
        optimiser.step()
        method.after_step()
        losses.append(round(loss.item(), 3))
    seconds = cpu_seconds() - begin
    return {"per_second": steps * BATCH / seconds, "losses": losses, "before": before, "after": found()}


def main() -> None:
    """Train by turns, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "coview-benchmark-images")
    parser.add_argument("--peer", type=Path, help="the Python of a virtual environment with lightly")
    parser.add_argument("--methods", nargs="+", choices=list(AREAS), default=list(AREAS))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    peer: Peer | None = peer_of(arguments.peer)
    collection = Collection.open(arguments.folder / "real-index")
    result = {}
    for slug in arguments.methods:
        result[slug] = {"coview": train(collection, slug, arguments.steps, arguments.seed)}
        if peer:
            ask = {"folder": str(arguments.folder / "photographs" / "real"), "size": SIZE, "area": AREAS[slug]}
            if slug == "swav":
                ask["small"] = [SMALL.number, SMALL.size, SMALL.area]
            result[slug]["lightly"] = peer.ask(
                what="train", method=slug, steps=arguments.steps, batch=BATCH, seed=arguments.seed, **ask
            )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
