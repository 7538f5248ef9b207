"""Words of captions in many languages on real pictures: which words a model says of Tux Paint stamps it has never seen.

The stamps of tuxpaint-stamps-default that are pictures, without alphabets, on grey; a caption is what the package says
of them in 16 languages, one behind the other, and no language is told. Test items share no caption, recording or
picture with those of training (`tuxpaint_groups`). By language: of the five likeliest words among those that training
captions of the language have, the share that the caption has, beside the five commonest.

    python benchmarks/tuxpaint_captions.py prepare FOLDER
    python benchmarks/tuxpaint_captions.py run FOLDER --seeds 0 1 2

Prints one JSON object with a list `results` of measurements.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import coview
from coview.cli.main import main as command
from coview.data.adapters.tuxpaint_groups import group_items, sift, split
from coview.data.adapters.tuxpaint_items import USUAL_FOLDER, walk
from coview.data.adapters.tuxpaint_pictures import composite, fit, read_rgba
from coview.data.dictionary import words_of
from coview.data.memmap import fill
from coview.data.open import open_source
from coview.data.views import TextView
from coview.evaluation.statistics import Measurement, mean, over_seeds
from coview.evaluation.word_vectors import precision_at
from coview.evaluation.words import dictionary_of
from coview.methods.weak_captions import WeakCaptionsSettings

LANGUAGES = ("en", "fr", "de", "es", "it", "ru", "el", "hu", "fi", "tr", "cs", "nl", "hi", "ar", "ko", "ja")
SIDE, K = 64, 5
CHANGES = {"frequent": 100, "words": 1200, "text": TextView(length=1500, tokens="words")}
STEPS, BATCH, RATE = "300", "64", "0.003"


def prepare(folder: Path) -> None:
    """Draw the pictures, and index them with their captions."""
    stamps, heard, _ = sift(walk(USUAL_FOLDER))
    groups = group_items(stamps, heard)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines, said = [], {}
    for number, item in enumerate(one for one in stamps.items if one.png and one.core):
        name = f"pictures/{number:04}.png"
        shown = composite(fit(read_rgba(stamps.folder / str(item.png)), SIDE))
        Image.fromarray((shown * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()).save(folder / name)
        said[name] = {language: item.captions[language] for language in LANGUAGES if language in item.captions}
        line = {"path": name, "id": name, "caption": " / ".join(said[name].values()), "group": groups[item.id]}
        lines.append(line | {"split": split(groups[item.id]), "flags": ["nomirror"] * item.nomirror})
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (folder / "said.json").write_text(json.dumps({"said": said, "split": {one["id"]: one["split"] for one in lines}}))
    command(["index", str(folder / "manifest.jsonl"), "-o", str(folder / "collection"), "--overwrite"])
    views = dataclasses.replace(WeakCaptionsSettings.tiny(), **CHANGES).specs()
    fill(open_source(str(folder / "collection"), views, split="train"), folder / "train")


def train(folder: Path, seed: int, sampling: str) -> Path:
    """Train a run and return its folder."""
    run, objective = folder / f"run-{sampling}-{seed}", "sampled" if sampling == "word" else "multi-class"
    words = ["pretrain", "weak-captions", "--tiny", "--collection", str(folder / "train"), "--split", "None"]
    words += ["-o", str(run), "--overwrite", "--seed", str(seed), "--method.text.length", "1500"]
    words += ["--method.sampling", sampling, "--method.objective", objective, "--preset", "xid"]
    words += ["--method.frequent", str(CHANGES["frequent"]), "--method.words", str(CHANGES["words"])]
    words += ["--train.steps", STEPS, "--train.batch-size", BATCH, "--optimiser.lr", RATE]
    with contextlib.redirect_stdout(sys.stderr):
        command([*words, "--train.workers", "0", "--train.device", "cpu"])
    return run


def measure(folder: Path, run: Path, name: str, seed: int) -> list[Measurement]:
    """Return precision at 5 of every language, and of all together, of a model and of the commonest words."""
    known = json.loads((folder / "said.json").read_text())
    said, part = known["said"], known["split"]
    model = coview.load(run)
    lexicon = dictionary_of(model)[1]
    names = lexicon.dictionary()
    number = {word: place for place, word in enumerate(names)}
    tested = [item for item in said if part[item] == "test"]
    x = model.embed([folder / item for item in tested], view="image")["image"].double()
    scores = (x @ lexicon.weight[: len(names)].detach().double().T).numpy()
    found = []
    for language in (*LANGUAGES, "all"):

        def words(item: str, language: str = language) -> set[int]:
            text = " / ".join(said[item].values()) if language == "all" else said[item].get(language, "")
            return {number[word] for word in words_of(text) if word in number}

        counts = Counter(word for item in said if part[item] == "train" for word in words(item))
        spoken = np.array(sorted(counts))
        told = np.array([np.isin(spoken, list(words(item))) for item in tested])
        there = told.any(1)
        prior = np.broadcast_to([counts[one] for one in spoken], told.shape)
        for what, order in ((name, scores[:, spoken]), ("commonest", prior)):
            items = torch.from_numpy(precision_at(order[there], told[there], K))
            found.append(mean(f"words_p{K}_{language}/{what}", items, float(told[there].mean()), seed))
    return found


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
        for sampling in ("word", "picture"):
            run = train(arguments.folder, seed, sampling)
            for one in measure(arguments.folder, run, f"{sampling}s first", seed):
                by_name.setdefault(one.name, []).append(one)
    # The commonest words are the same whatever the seed.
    rows = [(group[0] if name.endswith("commonest") else over_seeds(group)).row() for name, group in by_name.items()]
    print(json.dumps({"results": rows}, indent=1, ensure_ascii=False))
    print(f"{len(rows)} figures", file=sys.stderr)


if __name__ == "__main__":
    main()
