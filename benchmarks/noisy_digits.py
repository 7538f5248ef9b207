"""Noisy two-view digits: what each member of the correlation family makes of the first view.

    python benchmarks/noisy_digits.py --out FOLDER [--seeds 0 1 2] [--methods NAME ...]

Data: `noisy-digits`, 8,000 pairs for training, 1,500 for choosing, 1,500 for the figures, another draw per seed. Every
method learns without labels from both views; then the FIRST view alone is embedded, a logistic regression is fitted on
the training pairs' embeddings (columns scaled to deviation 1, C chosen on the validation pairs), and its accuracy on
the test pairs is the figure. "held-out" is the sum of the correlations of the ten pairs of canonical variates on the
test pairs. Networks are 256-256-256-10 with ReLU, Adam at 1e-3 with a cosine schedule, 30 epochs in batches of 1,000;
those whose loss is a mean over samples have batches of 200, which is five times as many steps.

Settings were chosen on the validation pairs of seed 0: see CHOSEN.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression

from coview.data.synthetic.noisy_digits import VIEWS, NoisyDigits
from coview.data.views import FeaturesView
from coview.embedding.extract import extract
from coview.evaluation.statistics import accuracy, over_seeds
from coview.methods import load_method
from coview.model import Model
from coview.training.closed_form import fit
from coview.training.loop import train
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

FEATURES = {name: FeaturesView(dim=256) for name in VIEWS}
EPOCHS, BATCH, RATE = 30, 1000, 1e-3
HIDDEN = (256, 256)
CHOSEN: dict[str, dict[str, Any]] = {
    "cca": {"components": 10},
    "dcca": {},
    "dccae": {"reconstruction": 1e-3},
    "corrae": {"reconstruction": 1e-3},
    "distae": {"reconstruction": 1e-1},
    "splitae": {},
    "vcca": {"deviation": 0.1},
    "vcca-private": {"deviation": 0.1},
    "noi": {},
    "dgcca": {},
    "supervised-dcca": {},
    "tnn-c-cca": {},
    "vae-cca": {},
}
MEASURED = ("cca", "dcca", "dccae", "splitae", "vcca")  # those whose settings were chosen; the others are for pictures
# They need steps, not rows: batches of 200.
SMALL = ("corrae", "distae", "splitae", "vcca", "vcca-private", "noi", "tnn-c-cca", "vae-cca")
C_GRID = (0.001, 0.01, 0.1, 1.0)
PARTS = ("train", "validation", "test")


def main() -> None:
    """Run every method for every seed, print a table and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for noisy_digits.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["pixels", *MEASURED])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.methods}
    for seed in arguments.seeds:
        sources = {part: NoisyDigits(part, seed=seed, views=FEATURES) for part in PARTS}
        for name in arguments.methods:
            kept = arguments.out / f"{name.replace(' ', '-')}-{seed}.json"
            if not kept.exists():  # a stopped call goes on where it was
                found = one(name, sources, seed, arguments)
                kept.write_text(json.dumps(found) + "\n", encoding="utf-8")
            figures[name].append(json.loads(kept.read_text(encoding="utf-8")))
            print(seed, name, figures[name][-1], flush=True)
    rows = [row(name, found) for name, found in figures.items()]
    about = {"seeds": arguments.seeds, "epochs": arguments.epochs, "chosen": CHOSEN, "rows": rows}
    (arguments.out / "noisy_digits.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    for line in rows:
        held = "" if line["held_out"] is None else f"{line['held_out']:.2f}"
        print(
            f"{line['name']:14} {100 * line['value']:.1f} % ({100 * line['low']:.1f} to {100 * line['high']:.1f})  "
            f"held-out {held:>5}  {line['cpu_seconds']:.0f} s CPU"
        )


def one(name: str, sources: dict[str, NoisyDigits], seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one method on one draw; returns the share of right answers and what else is shown."""
    began = time.process_time()
    if name == "pixels":
        embedded = {part: {"rotated": source.pixels["rotated"].flatten(1)} for part, source in sources.items()}
    else:
        embedded = ours(name, sources, seed, arguments.epochs)
    spent = time.process_time() - began
    correct, held = measure(sources, embedded)
    return {"correct": correct, "of": len(sources["test"]), "held_out": held, "cpu_seconds": spent}


def ours(slug: str, sources: dict[str, NoisyDigits], seed: int, epochs: int) -> dict[str, dict[str, torch.Tensor]]:
    """Train one of coview's methods; returns part -> view -> embeddings."""
    kind = load_method(slug).Settings
    networks = {} if slug == "cca" else {"hidden": HIDDEN, "dimension": 10}
    settings = RunSettings(
        method=slug,
        method_settings=kind(views=FEATURES, **networks, **CHOSEN[slug]),
        collection="noisy-digits",
        seed=seed,
        train=TrainSettings(
            epochs=epochs,
            batch_size=200 if slug in SMALL else BATCH,
            device="cpu",
            workers=0,
            checkpoint_every=10**6,
            watch_every=10**6,
        ),
        optimiser=OptimiserSettings(lr=RATE),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.05),
    )
    with tempfile.TemporaryDirectory() as folder:
        if slug == "cca":
            model = fit(settings, Path(folder) / "model", source=sources["train"])
        else:
            model = Model.from_run(train(settings, Path(folder) / "run", source=sources["train"], quiet=True))
    space = "projected" if len(model.method.projectors) else "backbone"
    return {part: extract(model, source, space=space, batch_size=2000).values for part, source in sources.items()}


def measure(sources: dict[str, NoisyDigits], embedded: dict[str, dict[str, torch.Tensor]]) -> tuple[int, float | None]:
    """Return the probe's right answers on the test pairs, and the sum of the held-out correlations if there are any."""
    scale = embedded["train"]["rotated"].std(0) + 1e-9
    mean = embedded["train"]["rotated"].mean(0)
    inputs = {part: ((views["rotated"] - mean) / scale).numpy() for part, views in embedded.items()}
    labels = {part: source.labels.numpy() for part, source in sources.items()}
    probes = [LogisticRegression(C=c, max_iter=1000).fit(inputs["train"], labels["train"]) for c in C_GRID]
    best = max(probes, key=lambda probe: probe.score(inputs["validation"], labels["validation"]))
    correct = int((best.predict(inputs["test"]) == labels["test"]).sum())
    held = None
    if "noisy" in embedded["test"]:
        x, y = (embedded["test"][view].double() for view in VIEWS)
        x, y = x - x.mean(0), y - y.mean(0)
        held = float(((x * y).sum(0) / (x.square().sum(0) * y.square().sum(0)).sqrt()).sum())
    return correct, held


def row(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a method's figures over the seeds, as plain data."""
    measured = [accuracy(f"rotated_probe/{name}", torch.arange(one["of"]) < one["correct"], 0.1) for one in found]
    held = [one["held_out"] for one in found if one["held_out"] is not None]
    return {
        **over_seeds(measured).row(),
        "name": name,
        "each": [measurement.value for measurement in measured],
        "held_out": sum(held) / len(held) if held else None,
        "cpu_seconds": sum(one["cpu_seconds"] for one in found) / len(found),
    }


if __name__ == "__main__":
    main()
