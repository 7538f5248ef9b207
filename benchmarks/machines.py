"""What each step from films to embeddings costs on one core, and what a million films of 10 s cost at that.

    OMP_NUM_THREADS=1 python benchmarks/machines.py [--films 8]

Films are those of benchmarks/loader.py (340 x 256, 10 s, H.264 and AAC; a quarter each of patterns, fractals, automata
and grain). Steps run in one process, one thread: index; prepare at 128 pixels and 16 fps; reading one sample of every
film for training (8 frames and 1 s of sound) from the prepared copy; a training step of xID at its own size, forward
and backward; embedding one window with it. CPU-seconds are user + system time of this process and its children;
"per million" is that times a million, in CPU-hours, and GB on disk.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from loader import VIEWS, cpu_seconds, make_files

from coview.data.augment import AugmentSettings
from coview.data.collection import Collection
from coview.data.executors import Serial
from coview.data.index import index_source
from coview.data.open import open_source
from coview.data.preprocess import Preprocess
from coview.data.shards.layout import PrepareSettings
from coview.data.shards.write import prepare
from coview.data.source import sample_keys
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.xid import XIDSettings


def main() -> None:
    """Make the films, go through the steps, print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "coview-benchmark-loader")
    parser.add_argument("--films", type=int, default=8)
    told = parser.parse_args()
    torch.set_num_threads(1)
    films = make_files(told.folder / f"clips-{told.films}", told.films)
    found: dict[str, dict[str, float]] = {}

    def measured(name: str, work: Callable[[], Any]) -> Any:
        began = cpu_seconds()
        made = work()
        seconds = (cpu_seconds() - began) / len(films)
        found[name] = {"cpu_seconds_a_film": round(seconds, 3), "cpu_hours_a_million": round(seconds * 1e6 / 3600)}
        print(name, found[name], flush=True)
        return made

    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        sizes = {"films": sum(film.stat().st_size for film in films)}
        measured("index", lambda: index_source(str(films[0].parent), out / "collection", workers=0))
        collection = Collection.open(out / "collection")
        measured("prepare", lambda: prepare(collection, out / "copy", PrepareSettings(), Serial()))
        sizes["prepared copy"] = sum(path.stat().st_size for path in (out / "copy").iterdir())
        source = open_source(str(out / "copy"), VIEWS)
        rows = torch.arange(len(source))
        batch = measured("read a sample", lambda: source.read(rows, sample_keys(0, 0, rows)))
        method = build("xid", XIDSettings(video=VIEWS["video"], audio=VIEWS["audio"]), Facts(rows=len(films)))
        ready = Preprocess(method.views, AugmentSettings())(batch, True)
        measured("train a sample", lambda: method(ready).loss.backward())
        with torch.no_grad():
            measured("embed a window", lambda: method.eval().embed(ready))
    for name, size in sizes.items():
        each = size / len(films)
        found[name] = {"megabytes_a_film": round(each / 1e6, 3), "gb_a_million": round(each / 1e3)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
