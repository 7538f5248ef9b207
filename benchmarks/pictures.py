"""Pictures that teach themselves, on pictures that everyone can get: the stamps of Tux Paint, one label a folder.

    python benchmarks/pictures.py prepare FOLDER     # squares of 128 pixels on mid-grey, and their collection
    bash benchmarks/pictures.sh stamps FOLDER rates  # which rate, on validation pictures
    bash benchmarks/pictures.sh stamps FOLDER        # the comparison of docs/results.md

Test pictures are those of fold 0 of the package's groups, so that mirrors and near copies never lie on both sides; an
eighth of the other groups is validation. Folders with fewer than 25 pictures give no label. The package
(tuxpaint-stamps-default, GPL-2) is the user's own; nothing of it is kept here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path

import torch
from torchvision.io import write_png

from coview.data.adapters.tuxpaint_groups import group_items, sift, split
from coview.data.adapters.tuxpaint_items import USUAL_FOLDER, walk
from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.data.index import index_source

SIDE, LEAST = 128, 25


def prepare(out: Path, stamps: Path) -> None:
    """Write the squares, their manifest and their collection."""
    found, heard, _ = sift(walk(stamps))
    groups = group_items(found, heard)
    items = [item for item in found.items if item.core and item.png is not None]
    counts = Counter(item.category for item in items)
    lines = []
    for item in items:
        target = out / "pictures" / f"{item.id}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        square = composite(fit(read_rgba(found.folder / str(item.png)), SIDE))
        write_png(square.mul(255).round().to(torch.uint8), str(target))
        line = {
            "path": str(target.relative_to(out)),
            "id": item.id,
            "split": part(groups[item.id]),
            "group": groups[item.id],
            "flags": "nomirror" if item.nomirror else "",
        }
        lines.append(line | ({"label": item.category} if counts[item.category] >= LEAST else {}))
    manifest = out / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    collection = index_source(str(manifest), out / "collection", workers=0)
    labels = sum(count >= LEAST for count in counts.values())
    print(f"{len(collection)} pictures: {dict(Counter(line['split'] for line in lines))}; {labels} labels")


def part(group: str) -> str:
    """Return the split of a group: fold 0 is test, an eighth of the others validation."""
    if split(group) == "test":
        return "test"
    return "validation" if hashlib.sha256(f"pictures/{group}".encode()).digest()[0] < 32 else "train"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stamps", type=Path, default=USUAL_FOLDER)
    arguments = parser.parse_args()
    prepare(arguments.folder, arguments.stamps)


if __name__ == "__main__":
    main()
