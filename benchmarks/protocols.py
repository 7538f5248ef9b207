"""All protocols through the command line on three sets: xID and VICReg against random weights and supervision.

    coview compare xid av-vicreg --data digits-av:A ... -o COMPARISON    # trains; docs/protocols.md has the commands
    python benchmarks/protocols.py measure FOLDER digits --compare COMPARISON
    python benchmarks/protocols.py prepare FOLDER                        # tuxpaint's parts, for benchmarks/results.sh
    python benchmarks/protocols.py why FOLDER --compare COMPARISON       # what decides between the two, on VALIDATION
    python benchmarks/protocols.py table FOLDER                          # the tables of docs/protocols.md

`measure` runs every protocol by `coview evaluate` on runs that a comparison has trained, so that nothing is trained
twice, prints each command, and keeps its JSON in FOLDER/SET; what is there already is not run again, and methods whose
runs are not finished are left out. `prepare` needs `python benchmarks/tuxpaint_gates.py prepare FOLDER/stamps` before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from coview.cli.main import main as coview
from coview.data.adapters.tuxpaint_digits import language_folds
from coview.data.collection import Collection
from coview.data.memmap import MemmapSource, fill
from coview.data.part import Part
from coview.data.source import Source
from coview.data.synthetic import parse_world
from coview.data.views import AudioView, VideoView
from coview.evaluation.statistics import Measurement, over_seeds
from coview.training.loop import train
from coview.training.settings import RunSettings, run_from_dict

SEEDS = (0, 1, 2)
METHODS = ("xid", "av-vicreg", "supervised-av")
# The classes whose concepts count as seen.
SEEN = {
    "digits": [str(digit) for digit in range(5)],
    "objects": ["disc", "triangle", "square"],
    "tuxpaint": [str(digit) for digit in range(5)],
}
STAMP_VIEWS: dict[str, Any] = {
    "video": VideoView(frames=2, fps=4.0, size=32, margin=1.0, normalise="clip"),
    "audio": AudioView(seconds=1.0, mels=40, n_fft=512, window=400, hop=320, normalise="clip"),
}


def run_of(compare: Path, method: str, seed: int) -> Path:
    """Return where a comparison keeps a run."""
    return compare / "runs" / f"{method}.pairs.{seed}" / "run"


def parts_of(compare: Path) -> dict[str, Path]:
    """Return the sets that xID's runs were trained on and are measured on."""
    fields = yaml.safe_load((run_of(compare, "xid", 0) / "settings.yaml").read_text())
    folder = Path(fields["collection"])
    return {part: folder.with_name(folder.name.replace("train", part)) for part in ("train", "validation", "test")}


def measure(folder: Path, name: str, compare: Path) -> None:
    """Run every protocol on each method with three finished runs; random weights stand beside xID."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    sets = parts_of(compare)
    runs = {method: [run_of(compare, method, seed) for seed in SEEDS] for method in METHODS}
    for method in METHODS:
        if not all((run.parent / "compare.json").is_file() for run in runs[method]):
            print(f"{name}, {method}: not three finished runs in {compare}; left out", file=sys.stderr)
            del runs[method]
    protocols: dict[str, list[Any]] = {
        "knn": [],
        "concepts": ["--seen", *SEEN[name]],
        "few-shot": ["--shots", 1, 5, 20],
        "retrieval": ["--spaces", "projected", "backbone"],
        "linear-probe": [],
        "audio-probe": ["--stages", "all", "--clips", 1],
        "fine-tune": [
            "--shots", 20, "--epochs", 12, "--warm-up-epochs", 3, "--clips", 1, "--lr", 0.001,
            "--preset", "digits", "--workers", 0, "--windows", 1,
        ],
    }  # fmt: skip
    for protocol, words in protocols.items():
        for method, models in runs.items():
            if method == "supervised-av" and protocol in ("retrieval", "fine-tune"):
                continue  # it has no common space, and has learnt from the labels already
            fixed = ["--model", *models, "--collection", sets["train"], "--test-collection", sets["test"]]
            fixed += ["--name", method, *(["--controls"] if method == "xid" else [])]
            command(folder / name / f"log-{method}-{protocol}.json", protocol, *fixed, *words)


def command(log: Path, *words: Any) -> None:
    """Run `coview evaluate` as from a shell, its JSON into a file; what the file holds already is not run again."""
    argv = ["evaluate", *map(str, words), "--json", "--device", "cpu"]
    if log.exists():
        return
    print("coview " + " ".join(argv), file=sys.stderr)
    part = log.with_suffix(".part")
    with part.open("w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        code = coview(argv)
    if code:
        raise SystemExit(f"exit code {code}: coview {' '.join(argv)}")
    part.rename(log)


# What is changed, one thing at a time: the run's settings, the method's settings. Every run sees the same samples.
WHY: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "xID": ("xid", {}, {}),
    "xID, temperature 0.5": ("xid", {}, {"temperature": 0.5}),
    "xID, 5000 recordings": ("xid", {"recordings": 5000}, {}),
    "VICReg": ("av-vicreg", {}, {}),
    "VICReg, batch 16": ("av-vicreg", {"batch_size": 16}, {}),
    "VICReg, width 2048": ("av-vicreg", {}, {"embedding": 2048}),
    "VICReg, 5000 recordings": ("av-vicreg", {"recordings": 5000}, {}),
    "VICReg, invariance 5": ("av-vicreg", {}, {"invariance": 5.0}),
}
_STEPS = 450  # of 64


def why(folder: Path, compare: Path, only: Sequence[str], seeds: Sequence[int]) -> None:
    """Train the variants, settings otherwise those of the comparison, and probe them on validation clips."""
    place, sets = folder / "why", parts_of(compare)
    place.mkdir(parents=True, exist_ok=True)
    fields = {
        method: yaml.safe_load((run_of(compare, method, 0) / "settings.yaml").read_text()) for method in METHODS[:2]
    }
    base = {method: run_from_dict(each) for method, each in fields.items()}
    views = {name: getattr(base["xid"].method_settings, name) for name in ("video", "audio")}
    validation, more = place / "validation", place / "more"
    if not validation.exists():
        fill(parse_world("digits-av:A", "validation", 1000, 0, views), validation)
    if not more.exists():
        fill(parse_world("digits-av:A", "train", 5000, 0, views), more, placing="random")
    for label, (method, of_run, of_method) in WHY.items():
        slug = label.lower().replace(",", "").replace(" ", "-")
        for seed in seeds if not only or slug in only else ():
            batch = of_run.get("batch_size", 64)
            wanted = replace(
                base[method],
                seed=seed,
                collection=str(more) if "recordings" in of_run else base[method].collection,
                method_settings=replace(base[method].method_settings, **of_method),
                train=replace(base[method].train, steps=_STEPS * 64 // batch, batch_size=batch, knn_every=0, workers=0),
            )
            out = run(wanted, place / f"{slug}-{seed}")
            parts = ["--collection", sets["train"], "--test-collection", validation, "--name", slug]
            for protocol in ("linear-probe", "retrieval"):
                command(place / f"log-{slug}-{seed}-{protocol}.json", protocol, "--model", out, *parts)


def run(wanted: RunSettings, out: Path) -> Path:
    """Train, unless that has been done, and note the CPU time."""
    if not (out / "summary.json").exists():
        started = time.process_time()
        train(wanted, out, resume=True, quiet=True)
        print(f"{out}: {time.process_time() - started:.0f} CPU-seconds", file=sys.stderr)
    return out


def prepare(folder: Path) -> None:
    """Store the parts of tuxpaint, which are not those of a collection, as FOLDER/tuxpaint/train, validation, test."""
    place = folder / "tuxpaint"
    place.mkdir(parents=True, exist_ok=True)
    for part, source in spoken_parts(folder).items():
        if not (place / part).exists():
            training = part == "train"
            fill(source, place / part, cuts=2 if training else 1, placing="random" if training else "even")


def spoken_parts(folder: Path) -> dict[str, Source]:
    """Return the parts of tuxpaint:digits: test pictures and test languages (fold 0) are never in training."""
    collection = Collection.open(folder / "stamps" / "digits")
    stored = MemmapSource(folder / "stamps" / "digits-memmap", STAMP_VIEWS)
    languages = [next(f[9:] for f in flags if f.startswith("language-")) for flags in collection.column("flags")]
    fold = language_folds(languages)
    split, rows = collection.column("split"), torch.arange(len(collection))
    heard = torch.tensor([fold[language] for language in languages])
    old = torch.tensor([one == "train" for one in split])
    return {
        "train": Part(stored, rows[old & (heard > 1)]),
        "validation": Part(stored, rows[old & (heard == 1)]),
        "test": Part(stored, rows[~old & (heard == 0)]),
    }


def table(folder: Path) -> None:
    """Print what was measured as Markdown."""
    for name in SEEN:
        rows = _rows(folder / name, "log-*.json")
        models = ("xid", "av-vicreg", "random", "supervised-av")
        whats = list(dict.fromkeys(key.partition("/")[0] for key in rows if key.partition("/")[2] in models))
        print(f"\n### {name}\n\n| figure | chance | xID | VICReg | random weights | supervised | n |\n|{'---|' * 7}")
        for what in whats:
            cells = [_cell(rows.get(f"{what}/{model}")) for model in models]
            known = next(rows[f"{what}/{model}"] for model in models if f"{what}/{model}" in rows)
            chance = "" if known["chance"] is None else f"{known['chance']:.3f}"
            print(f"| {what} | {chance} | {' | '.join(cells)} | {known['n']} |")
    probed = ("video_probe", "audio_probe", "class_p1_v2v", "class_p1_v2a", "class_p1_a2v", "class_map_v2a")
    print(f"\n### why, validation\n\n| run | seeds | {' | '.join(probed)} |\n|{'---|' * (len(probed) + 2)}")
    for label in WHY:
        slug = label.lower().replace(",", "").replace(" ", "-")
        seeds = [_rows(folder / "why", f"log-{slug}-{seed}-*.json") for seed in SEEDS]
        seeds = [rows for rows in seeds if rows]
        if seeds:
            same = [[Measurement(**rows[f"{what}/{slug}"]) for rows in seeds] for what in probed]
            print(f"| {label} | {len(seeds)} | {' | '.join(_cell(over_seeds(each).row()) for each in same)} |")


def _rows(folder: Path, pattern: str) -> dict[str, dict[str, Any]]:
    logs = [json.loads(log.read_text()) for log in sorted(folder.glob(pattern))]
    return {row["name"]: row for log in logs for row in log["results"]}


def _cell(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "measure", "why", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("set", nargs="?", choices=list(SEEN), default="digits")
    parser.add_argument("--compare", type=Path, help="folder of a finished comparison")
    parser.add_argument("--only", nargs="+", default=[], help="runs of `why`, such as xid-batch-16")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of `why`")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what in ("measure", "why") and arguments.compare is None:
        parser.error(f"{arguments.what} needs --compare")
    if arguments.what == "prepare":
        prepare(arguments.folder)
    elif arguments.what == "measure":
        measure(arguments.folder, arguments.set, arguments.compare)
    elif arguments.what == "why":
        why(arguments.folder, arguments.compare, arguments.only, arguments.seeds)
    else:
        table(arguments.folder)
