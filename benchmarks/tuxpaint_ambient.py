"""Ambient sound on real pictures: whether a picture of a thing tells what kind of sound it makes.

The pictures of tuxpaint-stamps-default, without alphabets, on grey, each with what the thing itself sounds like, no
speech, as the track "sound"; silent files are left out. `ambient-sound` clusters the sounds of three folds of groups;
of the pictures of the fourth, which share no caption, recording or picture with them, the figure is how often the
likeliest cluster is that of the picture's own sound. Beside it the commonest cluster of the three folds, and the same
training on shuffled pairs. Every fold is held out once.

    python benchmarks/tuxpaint_ambient.py prepare FOLDER
    python benchmarks/tuxpaint_ambient.py run FOLDER --seeds 0 1 2

Prints one JSON object with a list `results` of measurements.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import coview
from coview.cli.main import main as command
from coview.data.adapters.tuxpaint_groups import FOLDS, fold, group_items, sift, silent
from coview.data.adapters.tuxpaint_items import USUAL_FOLDER, walk
from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.data.memmap import fill
from coview.data.open import open_source
from coview.embedding.extract import extract
from coview.evaluation.statistics import Measurement, mean, over_seeds
from coview.methods.ambient_sound import AmbientSoundSettings

SIDE, CLUSTERS, CUTS = 64, 6, 4
SOUND = replace(AmbientSoundSettings.tiny().sound, track="sound")  # of one second
STEPS, BATCH, RATE = "80", "32", "0.001"


def prepare(folder: Path) -> None:
    """Draw the pictures, index them with their sounds, and store cuts of the training part of every fold."""
    stamps, heard, _ = sift(walk(USUAL_FOLDER))
    groups = group_items(stamps, heard)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    views = replace(AmbientSoundSettings.tiny(), sound=SOUND).specs()
    lines = []
    for item in (one for one in stamps.items if one.png and one.core):
        sound = next((one for one in item.sounds if one.kind == "effect"), None)
        if sound is None or silent(stamps.folder / sound.path):
            continue
        name = f"pictures/{item.id.replace('/', '-')}.png"
        shown = composite(fit(read_rgba(stamps.folder / str(item.png)), SIDE))
        Image.fromarray((shown * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()).save(folder / name)
        line = {"path": name, "id": item.id, "group": groups[item.id], "label": item.category}
        line |= {"track:sound": str(stamps.folder / sound.path), "flags": ["nomirror"] * item.nomirror}
        lines.append((fold(groups[item.id]), line))
    for held in range(FOLDS):
        place, manifest = folder / f"fold-{held}", folder / f"fold-{held}.jsonl"
        rows = [line | {"split": "test" if of == held else "train"} for of, line in lines]
        manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        with contextlib.redirect_stdout(sys.stderr):
            command(["index", str(manifest), "-o", str(place), "--overwrite"])
        fill(open_source(str(place), views, split="train"), folder / f"fold-{held}-train", cuts=CUTS)


def train(folder: Path, held: int, seed: int, shuffled: bool) -> Path:
    """Train a run without the fold `held` and return its folder."""
    run = folder / f"run-{held}-{seed}{'-shuffled' * shuffled}"
    words = ["pretrain", "ambient-sound", "--tiny", "--collection", str(folder / f"fold-{held}-train")]
    words += ["--split", "None", "-o", str(run), "--overwrite", "--seed", str(seed), "--method.seed", str(seed)]
    words += ["--method.clusters", str(CLUSTERS), "--method.sound.track", "sound"]
    words += ["--preset", "digits", "--train.steps", STEPS]
    words += ["--train.batch-size", BATCH, "--optimiser.lr", RATE, "--train.workers", "0", "--train.device", "cpu"]
    with contextlib.redirect_stdout(sys.stderr):
        command([*words, "--shuffled"] if shuffled else words)
    return run


def measure(folder: Path, held: int, run: Path) -> tuple[Tensor, Tensor]:
    """Return of every held-out picture whether its own sound's cluster is the likeliest, and the commonest one."""
    model = coview.load(run)
    place = folder / f"fold-{held}"
    known = extract(model, open_source(str(place), model.needed, split="train"), space="projected")
    found = extract(model, open_source(str(place), model.needed, split="test"), space="projected")
    there = found.present["image"] & found.present["sound"]
    commonest = known.values["sound"][known.present["sound"]].argmax(1).bincount().argmax()
    cluster = found.values["sound"][there].argmax(1)
    return found.values["image"][there].argmax(1) == cluster, cluster == commonest


def main() -> None:
    """Run what was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    if arguments.what == "prepare":
        prepare(arguments.folder)
        return
    by_name: dict[str, list[Measurement]] = {}
    for seed in arguments.seeds:
        for shuffled in (False, True):
            runs = [train(arguments.folder, held, seed, shuffled) for held in range(FOLDS)]
            told = [measure(arguments.folder, held, run) for held, run in enumerate(runs)]
            right, common = (torch.cat(part).double() for part in zip(*told, strict=True))
            name = f"own_sound/{'shuffled' if shuffled else 'ambient-sound'}"
            by_name.setdefault(name, []).append(mean(name, right, float(common.mean()), seed))
    print(json.dumps({"results": [over_seeds(group).row() for group in by_name.values()]}, indent=1))


if __name__ == "__main__":
    main()
