"""What each stage knows of the runs that `bash benchmarks/pictures.sh objects FOLDER` left, before and after rescaling.

    python benchmarks/pictures_stages.py FOLDER              # trains the ceilings, probes all stages, prints a table
    python benchmarks/pictures_stages.py FOLDER --rescale    # and again with rescaled layers
    python benchmarks/pictures_stages.py FOLDER --balance    # what rescaling changes, without any probe
    python benchmarks/pictures_stages.py FOLDER --stamps     # of the runs on stamps, which are too few for a ceiling

Rows: each method and view, random weights of the same networks, and "labels", the same trunk taught the classes for as
many samples, at the best of three rates on validation pictures. Probes: `coview evaluate image-transfer --task probe`,
at most 1,200 numbers of a stage, 4 epochs in batches of 64; their rate, of 0.01 and 0.003, is the better one on
validation pictures at every stage (colorization, seed 0). Everything is the verbs' own, and goes on where it was.
--balance says how far the fastest and the slowest layer's rate of change are apart before and after, and how far the
maps of any stage are from a multiple of what they were (length of the difference over that of the maps).
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from coview.data.open import open_source
from coview.embedding.extract import read_windows
from coview.encoders import Encoder
from coview.encoders.rescaling import absorb_batchnorm, balance
from coview.evaluation.starts import rescaled
from coview.model import Model

SEEDS = 3
ROWS = (  # method, view, whether random weights stand beside it
    ("colorization", "lightness", False),
    ("relative-position", "image", True),
    ("swav", "image", False),
    ("denoising-autoencoder", "image", False),
    ("split-brain", "lightness", True),
    ("context-encoder", "image", False),
    ("larsson-colorization", "grey", False),
    ("vicreg", "image", False),
)
CEILINGS = {
    "image": "context-encoder",
    "lightness": "colorization",
}  # view -> the method whose network is taught labels
RATES = {"high": "3.0e-3", "low": "1.0e-3", "lower": "3.0e-4"}
SHARED = ("--tiny", "--preset", "xid", "--no-supervised", "--shuffled-seeds", "0", "--after")
PROBES = ("--numbers", "1200", "--epochs", "4", "--train-batch", "64", "--lr", "1e-2", "--json")


def coview(*words: str | Path) -> str:
    """Run a verb and return what it printed."""
    return subprocess.run(["coview", *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout


def settings_of(run: Path) -> dict[str, Any]:
    """Return what a run was made with."""
    text = (run.parent / "compare.json").read_text(encoding="utf-8")
    settings: dict[str, Any] = json.loads(text)["settings"]
    return settings


def teach(folder: Path, view: str, names: tuple[str, ...], part: str, samples: int, seeds: int) -> Path:
    """Train classifiers on the network of a method, from labels; return the folder of the comparison."""
    settings = settings_of(folder / f"objects-final/runs/{CEILINGS[view]}.pairs.0/run")
    train, base = settings["collection"], dict(settings["method"])
    changes = [f"classifier.base={base.pop('name')}", f"classifier.base_settings={json.dumps(base)}"]
    changes += [f"classifier.view={view}", "classifier.dropout=0.0"]
    changes += [f"classifier@{name}.optimiser.lr={RATES[name]}" for name in names]
    out = folder / "labels" / f"{view}-{part}"
    coview(
        "compare", *(f"classifier@{name}" for name in names), "--data", train,
        "--test-data", f"{train.removesuffix('-train')}-{part}", *SHARED, "--samples", str(samples),
        "--seeds", str(seeds), "--settings", Path(__file__).parent / "compare/objects.yaml", "--set", *changes,
        "-o", out,
    )  # fmt: skip
    return out


def taught(folder: Path, view: str) -> list[Path]:
    """Return the runs of the ceiling of a view, at the rate that its validation pictures prefer."""
    tried = teach(folder, view, tuple(RATES), "validation", 6400, 1) / "runs"
    values = {}
    for name in RATES:
        stored = json.loads((tried / f"classifier@{name}.pairs.0/compare.json").read_text(encoding="utf-8"))
        values[name] = stored["results"][0]["value"]
    best = max(values, key=lambda name: values[name])
    print(f"labels, {view}, rates {RATES}: {values}, so {best}", flush=True)
    out = teach(folder, view, (best,), "test", 12800, SEEDS)
    return [out / "runs" / f"classifier@{best}.pairs.{seed}/run" for seed in range(SEEDS)]


def probed(runs: list[Path], view: str, out: Path, *more: str) -> list[dict[str, Any]]:
    """Return the figures of the stages of some runs of one setting."""
    words = ["--view", view, "--collection", train := settings_of(runs[0])["collection"]]
    if train.endswith("-train"):  # a world's parts lie apart; a collection has its own
        words += ["--test-collection", f"{train.removesuffix('-train')}-test"]
    words += ["--out", str(out), *PROBES, *more]
    printed = coview("evaluate", "image-transfer", "--task", "probe", "--model", *runs, *words)
    rows: list[dict[str, Any]] = json.loads(printed)["results"]
    return rows


def lines(rows: list[dict[str, Any]], view: str) -> list[str]:
    """Return a line of the table for each name and form in the figures, stage after stage."""
    found: dict[str, list[str]] = {}
    for row in rows:
        what, _, name = row["name"].partition("/")
        form, _, stage = what.partition("@")
        if "top5" not in stage:
            label = f"{name} | {view} | {'after' if 'rescaled' in form else 'before'}"
            found.setdefault(label, []).append(f"{row['value']:.3f} ({row['low']:.3f}-{row['high']:.3f})")
    return [f"| {label} | {' | '.join(values)} |" for label, values in found.items()]


def spread(encoder: Encoder, x: Tensor) -> float:
    """Return the largest over the smallest rate of change of an encoder's layers."""
    chain = nn.Sequential(*map(copy.deepcopy(encoder).get_submodule, encoder.stages))
    rates = balance(chain, x, iterations=1).ratios[0]
    return float(rates.max() / rates.min())


def balanced(run: Path, view: str) -> str:
    """Return a line on what rescaling changes in the encoder of a run."""
    model, train = Model.from_run(run), settings_of(run)["collection"]
    source = open_source(train, model.needed)
    after = rescaled(model, source, view, seed=0)
    before = copy.deepcopy(cast(Encoder, model.method.encoders[view])).eval()
    absorb_batchnorm(before)
    test = open_source(f"{train.removesuffix('-train')}-test", model.needed)
    raw = next(iter(read_windows(test, torch.arange(64), 1, 64)))
    x = model.prepared(raw).views[view]
    with torch.no_grad():
        pairs = zip(before.feature_maps(x).values(), after.feature_maps(x).values(), strict=True)
        apart = [float((b * ((a * b).sum() / (b * b).sum()) - a).norm() / a.norm()) for b, a in pairs]
    return f"{spread(before, x):.3g} | {spread(after, x):.3g} | {max(apart):.1e}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rescale", action="store_true")
    parser.add_argument("--balance", action="store_true")
    parser.add_argument("--stamps", action="store_true")
    arguments = parser.parse_args()
    folder, rescale = arguments.folder, ["--rescale"] * arguments.rescale
    what, out = ("stamps", "stages-stamps") if arguments.stamps else ("objects", "stages")
    if arguments.balance:
        print("| run | view | rates apart before | after | maps no multiple |\n|---|---|---|---|---|")
        for method, view, _ in (*ROWS, ("split-brain", "colour", False)):
            for seed in range(SEEDS):
                run = folder / f"objects-final/runs/{method}.pairs.{seed}/run"
                print(f"| {method}, seed {seed} | {view} | {balanced(run, view)} |", flush=True)
        return
    print(
        "| method | what the encoder sees | rescaling | conv1 | conv2 | conv3 | conv4 |\n|---|---|---|---|---|---|---|"
    )
    for method, view, random in ROWS:
        runs = [folder / f"{what}-final/runs/{method}.pairs.{seed}/run" for seed in range(SEEDS)]
        figures = probed(runs, view, folder / out / f"{method}-{view}", *rescale, *["--controls"] * random)
        print("\n".join(lines(figures, view)), flush=True)
    for view in () if arguments.stamps else CEILINGS:
        figures = probed(taught(folder, view), view, folder / out / f"labels-{view}", "--name", "labels", *rescale)
        print("\n".join(lines(figures, view)), flush=True)


if __name__ == "__main__":
    main()
