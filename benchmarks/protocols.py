"""All protocols through the command line on three sets: xID and VICReg against random weights and supervision.

    python benchmarks/protocols.py prepare FOLDER SET   # decode and render once, into memory-mapped sets
    python benchmarks/protocols.py train FOLDER SET     # xID, VICReg and the supervised ceiling, three seeds each
    python benchmarks/protocols.py measure FOLDER SET   # every protocol, by `coview evaluate`; prints each command
    python benchmarks/protocols.py why FOLDER digits    # what decides between the two methods, on VALIDATION clips
    python benchmarks/protocols.py table FOLDER         # the tables of docs/protocols.md

SET is digits, objects or tuxpaint; tuxpaint needs `python benchmarks/tuxpaint_gates.py prepare FOLDER/stamps` before.
What is there already is not made again. One thread; a set takes five to ten minutes of an idle core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from coview.cli.main import main as coview
from coview.data.adapters.tuxpaint_digits import language_folds
from coview.data.augment import PRESETS
from coview.data.augment.settings import AugmentSettings
from coview.data.collection import Collection
from coview.data.memmap import MemmapSource, fill
from coview.data.part import Part
from coview.data.source import Source
from coview.data.synthetic import parse_world
from coview.data.views import AudioView, VideoView, ViewSpec
from coview.methods.av_vicreg import AVVICRegSettings
from coview.methods.xid import XIDSettings
from coview.training.loop import train
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

SEEDS = (0, 1, 2)
STAMPS = replace(
    PRESETS["none"], shift=3, noise=0.05, tilt=0.3, sound_shift=8, sound_noise=0.1,
    time_masked=(0.1, 0.2), time_mask=5, band_masked=(0.1, 0.2), band_mask=4,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Set:
    """A set: how it is cut, which networks learn it, for how long, and which classes are the "seen" side."""

    views: Mapping[str, ViewSpec]
    encoders: Mapping[str, str]
    steps: int
    seen: Sequence[str]
    counts: Mapping[str, int] = field(default_factory=dict)
    world: str = ""
    cuts: int = 2
    augment: AugmentSettings = PRESETS["digits"]


SOUND = AudioView(seconds=1.0, mels=40, n_fft=512, window=400, hop=200, normalise="clip")
SETS = {
    "digits": Set(
        world="digits-av:A",
        views={"video": VideoView(frames=4, fps=8.0, size=32, margin=1.0, normalise="clip"), "audio": SOUND},
        encoders={"video_encoder": "video-tiny", "audio_encoder": "audio-tiny"},
        counts={"train": 5000, "validation": 1000, "test": 1500},
        steps=936,
        seen=[str(digit) for digit in range(5)],
    ),
    "objects": Set(
        world="objects-av",
        views={"video": VideoView(frames=4, fps=4.0, size=48, margin=1.0, normalise="clip"), "audio": SOUND},
        encoders={"video_encoder": "video-small", "audio_encoder": "audio-small"},
        counts={"train": 4000, "validation": 1000, "test": 1000},
        steps=500,
        seen=["disc", "triangle", "square"],
    ),
    "tuxpaint": Set(
        views={
            "video": VideoView(frames=2, fps=4.0, size=32, margin=1.0, normalise="clip"),
            "audio": AudioView(seconds=1.0, mels=40, n_fft=512, window=400, hop=320, normalise="clip"),
        },
        encoders={"video_encoder": "video-tiny", "audio_encoder": "audio-tiny"},
        steps=500,
        seen=[str(digit) for digit in range(5)],
        augment=STAMPS,
    ),
}
PROBED = 2000  # training recordings that classifiers are fitted on


def prepare(folder: Path, name: str) -> None:
    """Write FOLDER/SET/{train,validation,test,probe} as memory-mapped sets."""
    chosen = SETS[name]
    if chosen.world:
        sources: dict[str, Source] = {
            split: parse_world(chosen.world, split, count, 0, chosen.views) for split, count in chosen.counts.items()
        }
        sources["probe"] = parse_world(chosen.world, "train", PROBED, 0, chosen.views)
    else:
        sources = spoken_parts(folder)
    for part, source in sources.items():
        if not (folder / name / part).exists():
            (folder / name).mkdir(parents=True, exist_ok=True)
            placing = "random" if part == "train" else "even"
            fill(source, folder / name / part, cuts=chosen.cuts if part == "train" else 1, placing=placing)  # type: ignore[arg-type]


def spoken_parts(folder: Path) -> dict[str, Source]:
    """Return the parts of tuxpaint:digits: test pictures and test languages (fold 0) are never in training."""
    collection = Collection.open(folder / "stamps" / "digits")
    stored = MemmapSource(folder / "stamps" / "digits-memmap", SETS["tuxpaint"].views)
    languages = [next(f[9:] for f in flags if f.startswith("language-")) for flags in collection.column("flags")]
    fold = language_folds(languages)
    split, rows = collection.column("split"), torch.arange(len(collection))
    heard = torch.tensor([fold[language] for language in languages])
    old = torch.tensor([one == "train" for one in split])
    return {
        "train": Part(stored, rows[old & (heard > 1)]),
        "probe": Part(stored, rows[old & (heard > 1)]),
        "validation": Part(stored, rows[old & (heard == 1)]),
        "test": Part(stored, rows[~old & (heard == 0)]),
    }


def settings(folder: Path, name: str, method: str, seed: int, **changes: Any) -> RunSettings:
    """Return a pretraining run; `changes`: batch (the samples seen stay the same), steps, rate, method."""
    chosen, batch = SETS[name], changes.get("batch", 64)
    kind = {"xid": XIDSettings, "av-vicreg": AVVICRegSettings}[method].tiny()
    own = replace(kind, **chosen.views, **chosen.encoders)
    if method == "xid":
        own = replace(own, variant="in-batch", temperature=0.1, q=0.0)
    return RunSettings(
        method=method,
        method_settings=replace(own, **changes.get("method", {})),
        collection=str(folder / name / "train"),
        seed=seed,
        augment=chosen.augment,
        train=TrainSettings(
            steps=int(changes.get("steps", chosen.steps) * 64 / batch), batch_size=batch, device="cpu", workers=0,
            checkpoint_every=10_000,
        ),
        optimiser=OptimiserSettings(kind="adamw", lr=changes.get("rate", 3e-3), weight_decay=0.02),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.15, hold=0.5),
    )  # fmt: skip


def learn(folder: Path, name: str, only: Sequence[str] = ()) -> None:
    """Train both methods and the ceiling at every seed, or `only` some of them, such as "xid-0"."""
    place = folder / name
    for seed in SEEDS:
        for method in ("xid", "av-vicreg"):
            if not only or f"{method}-{seed}" in only:
                run(settings(folder, name, method, seed), place / f"{method}-{seed}")
        if only and f"supervised-{seed}" not in only:
            continue
        command(
            place / f"log-supervised-{seed}.json",
            *("supervised", "--collection", place / "train", "--validation-collection", place / "validation"),
            *("--test-collection", place / "test", "--like", place / "xid-0", "--fusion", "per-view"),
            *("--preset", "digits", "--epochs", 8, "--patience", 2, "--lr", 0.002, "--train-batch", 64),
            *("--workers", 0, "--windows", 1, "--seed", seed, "--out", place / f"supervised-{seed}"),
        )


def run(wanted: RunSettings, out: Path) -> Path:
    """Train, unless that has been done, and note the CPU time."""
    if not (out / "summary.json").exists():
        started = time.process_time()
        train(wanted, out, resume=True, quiet=True)
        print(f"{out}: {time.process_time() - started:.0f} CPU-seconds", file=sys.stderr)
    return out


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


def measure(folder: Path, name: str) -> None:
    """Run every protocol on both methods; with xID, random weights and the ceiling as well."""
    place = folder / name
    for method in ("xid", "av-vicreg"):
        models = ["--model", *(place / f"{method}-{seed}" for seed in SEEDS)]
        parts = ["--collection", place / "probe", "--test-collection", place / "test"]
        controls = ["--controls"] if method == "xid" else []
        ceiling = [*controls, "--supervised", *(place / f"supervised-{s}" for s in SEEDS)] if controls else []
        for protocol, words in {
            "linear-probe": ceiling,
            "knn": ceiling,
            "retrieval": [*controls, "--spaces", "projected", "backbone"],
            "few-shot": [*ceiling, "--shots", 1, 5, 20],
            "concepts": [*ceiling, "--seen", *SETS[name].seen],
            "audio-probe": [*ceiling, "--stages", "all", "--clips", 1],
            "fine-tune": [
                *controls, "--shots", 20, "--epochs", 12, "--warm-up-epochs", 3, "--clips", 1, "--lr", 0.001,
                "--preset", "digits", "--workers", 0, "--windows", 1,
            ],
        }.items():  # fmt: skip
            command(place / f"log-{method}-{protocol}.json", protocol, *models, *parts, *words)


# What is changed, one thing at a time; "steps" are those at batch 64, so that every run sees as many samples.
WHY: dict[str, tuple[str, dict[str, Any]]] = {
    "xID": ("xid", {}),
    "xID, batch 16": ("xid", {"batch": 16}),
    "xID, batch 256": ("xid", {"batch": 256}),
    "VICReg": ("av-vicreg", {}),
    "VICReg, batch 16": ("av-vicreg", {"batch": 16}),
    "VICReg, batch 256": ("av-vicreg", {"batch": 256}),
    "VICReg, embedding 32": ("av-vicreg", {"method": {"embedding": 32}}),
    "VICReg, embedding 512": ("av-vicreg", {"method": {"embedding": 512}}),
    "VICReg, rate 1e-3": ("av-vicreg", {"rate": 1e-3}),
    "VICReg, twice as long": ("av-vicreg", {"steps": 1400}),
}


def why(folder: Path, name: str) -> None:
    """Train the variants at one seed and probe them on validation clips."""
    place = folder / name
    for label, (method, changes) in WHY.items():
        slug = label.lower().replace(",", "").replace(" ", "-")
        out = run(settings(folder, name, method, 0, **changes), place / (f"{method}-0" if not changes else slug))
        parts = ["--collection", place / "probe", "--test-collection", place / "validation", "--name", slug]
        for protocol in ("linear-probe", "retrieval"):
            command(place / f"why-{slug}-{protocol}.json", protocol, "--model", out, *parts)


def table(folder: Path) -> None:
    """Print what was measured as Markdown."""
    for name in SETS:
        logs = [json.loads(log.read_text()) for log in sorted((folder / name).glob("log-*.json"))]
        rows = {row["name"]: row for log in logs for row in log["results"]}
        models = ("xid", "av-vicreg", "random", "supervised-av")
        whats = list(dict.fromkeys(what for what, _, model in (key.partition("/") for key in rows) if model in models))
        print(f"\n### {name}\n\n| figure | chance | xID | VICReg | random weights | supervised | n |\n|{'---|' * 7}")
        for what in whats:
            cells = [_cell(rows.get(f"{what}/{model}")) for model in models]
            known = next(rows[f"{what}/{model}"] for model in models if f"{what}/{model}" in rows)
            chance = "" if known["chance"] is None else f"{known['chance']:.3f}"
            print(f"| {what} | {chance} | {' | '.join(cells)} | {known['n']} |")
    print("\n### why, validation\n")
    for log in sorted((folder / "digits").glob("why-*.json")):
        for row in json.loads(log.read_text())["results"]:
            if row["name"].startswith(("video_probe/", "audio_probe/", "class_p1_v2a/", "class_p1_a2v/")):
                print(row["name"], _cell(row))


def _cell(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "train", "measure", "why", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("set", nargs="?", choices=list(SETS))
    parser.add_argument("--only", nargs="+", default=[], help="runs to train, such as xid-0 av-vicreg-1 supervised-2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "table":
        table(arguments.folder)
    elif arguments.what == "train":
        learn(arguments.folder, arguments.set, arguments.only)
    else:
        steps = {"prepare": prepare, "measure": measure, "why": why}
        steps[arguments.what](arguments.folder, arguments.set)
