"""Gates on real recordings: xID trained through the decode path on clips rendered from tuxpaint-stamps-default.

R5  memorise the pairs: picture and French description of one item per group, no augmentation; R@1 on the trained
    pairs. It shows that decoding, pairing and optimisation are sound, and nothing about generalisation.
R2  a spoken digit finds the handwritten digit, in languages never heard in training: five folds of languages, images
    of the gallery never seen either; P@1, with shuffled pairs and random weights as controls. Clips of one digit count
    as partners of each other. See `spoken_digits.py` for the networks.

    python benchmarks/tuxpaint_gates.py prepare FOLDER     # index, render, decode once into memory-mapped sets
    python benchmarks/tuxpaint_gates.py r5 FOLDER --seeds 0 1 2
    python benchmarks/tuxpaint_gates.py r2 FOLDER --seeds 0 1 2
    python benchmarks/tuxpaint_gates.py r2 FOLDER --validate   # what settings are chosen by; no test language or image

Prints one JSON object with a list `results` of measurements.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import spoken_digits
import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.data.adapters.tuxpaint_digits import LANGUAGE_FOLDS, TRAIN_IMAGES, language_folds
from coview.data.augment.settings import PRESETS
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.memmap import MemmapSource, fill
from coview.data.part import Part
from coview.data.preprocess import Preprocess
from coview.data.shuffle import ShuffledPairs
from coview.data.source import Source
from coview.data.views import AudioView, Batch, VideoView
from coview.evaluation.ranking import rank_pairs
from coview.evaluation.statistics import Measurement, accuracy, bootstrap, over_seeds
from coview.methods.contract import Facts
from coview.methods.xid import XID, XIDSettings

# The pictures differ little within a clip: two frames cost a quarter of eight and carry the same picture.
STAMP_VIEWS = {
    "video": VideoView(frames=2, fps=1.0, size=32, margin=1.0, normalise="clip"),
    "audio": AudioView(seconds=2.0, mels=40, n_fft=512, window=400, hop=320, normalise="clip"),
}
VALIDATION_IMAGE = 1000  # of the 1,200 training images, those from here on are the gallery of `--validate`
Look = Callable[[Batch, bool], Batch]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: AdamW, one cycle of the rate."""

    steps: int
    batch: int
    rate: float
    decay: float


R5 = Recipe(steps=300, batch=128, rate=3e-3, decay=0.0)
R2 = Recipe(steps=250, batch=64, rate=2e-3, decay=0.05)


def prepare(folder: Path) -> None:
    """Index and render both sets, then decode every clip once."""
    for name, views, cuts in (("fr", STAMP_VIEWS, 1), ("digits", spoken_digits.VIEWS, 2)):
        collection = folder / name
        if not collection.exists():
            index_source(f"tuxpaint:{name}", collection)
        target = folder / f"{name}-memmap"
        if not target.exists():
            begun = time.perf_counter()
            fill(MediaSource(Collection.open(collection), views), target, cuts=cuts)
            print(f"{name}: decoded in {time.perf_counter() - begun:.0f} s", file=sys.stderr)


def train(method: XID, look: Look, source: Source, recipe: Recipe, seed: int) -> list[float]:
    """Train from scratch and leave the method in evaluation mode; return the loss of every step."""
    optimiser = torch.optim.AdamW(method.parameter_groups(recipe.decay), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps, pct_start=0.15)
    batches = Loader(source, batch_size=recipe.batch, seed=seed).stream(0)
    losses = []
    for _ in range(recipe.steps):
        step = method(look(next(batches), True))
        optimiser.zero_grad()
        step.loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(step.loss.detach()))
    method.eval()
    return losses


@torch.no_grad()
def calibrate(method: XID, look: Look, source: Source, recipe: Recipe, seed: int) -> list[float]:
    """Give a network of random weights its normalisation statistics, so that it is the control it should be."""
    batches = Loader(source, batch_size=recipe.batch, seed=seed).stream(0)
    for _ in range(20):
        method(look(next(batches), True))
    method.eval()
    return []


@torch.no_grad()
def embed(method: XID, look: Look, source: Source, rows: list[int]) -> dict[str, Tensor]:
    """Return view -> (len(rows), D), of length 1, of the middle window."""
    parts: dict[str, list[Tensor]] = {"video": [], "audio": []}
    for chunk in torch.tensor(rows).split(128):
        batch = look(source.read_window(chunk, 0, 1), False)
        for name, values in parts.items():
            values.append(normalize(method.projectors[name](method.encoders[name](batch.views[name])), dim=1))
    return {name: torch.cat(values) for name, values in parts.items()}


def stamps_method(source: Source, seed: int) -> XID:
    """Return xID with in-batch negatives, every pair its own."""
    torch.manual_seed(seed)
    views = {"video": source.views["video"], "audio": source.views["audio"], "audio_encoder": "audio-speech"}
    settings = dataclasses.replace(XIDSettings.tiny(), **views, variant="in-batch", temperature=0.1, q=0.0)
    return XID(settings, Facts(rows=len(source)))


def gate_r5(folder: Path, seeds: list[int]) -> list[Measurement]:
    """Return R@1 on the trained pairs, both directions averaged, trained and random."""
    source = MemmapSource(folder / "fr-memmap")
    look = Preprocess(source.views, PRESETS["none"])
    rows = list(range(len(source)))
    single: dict[str, list[Measurement]] = {}
    for seed in seeds:
        for name, fit in (("xid", train), ("random", calibrate)):
            begun = time.perf_counter()
            method = stamps_method(source, seed)
            losses = fit(method, look, source, R5, seed)
            z = embed(method, look, source, rows)
            for way, (query, gallery) in (("v2a", ("video", "audio")), ("a2v", ("audio", "video"))):
                hits = rank_pairs(z[query], z[gallery]).hits(1)
                figure = accuracy(f"r5_memorised_{way}_r1/{name}", hits, 1 / len(rows))
                single.setdefault(figure.name, []).append(figure)
            report("r5", name, seed, begun, losses[-20:], [float(hits.float().mean())])
    return [over_seeds(figures) for figures in single.values()]


def gate_r2(folder: Path, seeds: list[int], validate: bool) -> list[Measurement]:
    """Return P@1 of speech to picture in unseen languages, mean over folds: true pairs, shuffled, random weights."""
    source, look = spoken_digits.Digits(MemmapSource(folder / "digits-memmap")), spoken_digits.Look()
    what = "r2_validation" if validate else "r2"
    single: dict[str, list[Measurement]] = {}
    for seed in seeds:
        for name, fit in (("xid", train), ("shuffled", train), ("random", calibrate)):
            begun = time.perf_counter()
            hits: dict[str, list[bool]] = {}
            means, last = [], []
            for k in range(1, LANGUAGE_FOLDS) if validate else range(LANGUAGE_FOLDS):
                rows, queries, gallery = fold_rows(source, k, validate)
                part: Source = Part(source, torch.tensor(rows))
                method = spoken_digits.build(len(part), seed)
                losses = fit(method, look, ShuffledPairs(part, seed) if name == "shuffled" else part, R2, seed)
                last += losses[-20:]
                correct = nearest_is_right(method, look, source, queries, gallery)
                means.append(sum(correct) / len(correct))
                for query, right in zip(queries, correct, strict=True):
                    hits.setdefault(language_of(source.ids[query]), []).append(right)
            by_language = torch.tensor([sum(values) / len(values) for values in hits.values()])
            low, high = bootstrap(by_language, seed)
            n = sum(len(values) for values in hits.values())
            figure = Measurement(f"{what}_p1_a2v/{name}", sum(means) / len(means), low, high, 0.1, n)
            single.setdefault(figure.name, []).append(figure)
            report(what, name, seed, begun, last, means)
            languages = {language: round(sum(values) / len(values), 2) for language, values in sorted(hits.items())}
            print(json.dumps(languages), file=sys.stderr, flush=True)
    return [over_seeds(figures) for figures in single.values()]


def fold_rows(source: Source, k: int, validate: bool) -> tuple[list[int], list[int], list[int]]:
    """Return the rows to train on, the queries (one clip per recording) and the gallery (one clip per image).

    In validation, fold 0 of the languages and the last images take no part at all, fold k and the last training
    images stand for the test.
    """
    folds = language_folds([language_of(name) for name in source.ids])
    unseen = {0, k} if validate else {k}
    first, end = (VALIDATION_IMAGE, TRAIN_IMAGES) if validate else (TRAIN_IMAGES, sys.maxsize)
    rows, queries, gallery = [], {}, []
    for row, name in enumerate(source.ids):
        image, turn, language = int(name.split("-")[1]), int(name.split("-")[2]), language_of(name)
        if image < first and folds[language] not in unseen:
            rows.append(row)
        if folds[language] == k:  # a held-out recording is never trained on, whichever picture it comes with
            queries.setdefault((int(source.labels[row]), language), row)
        if first <= image < end and turn == 0:
            gallery.append(row)
    return rows, list(queries.values()), gallery


def language_of(name: str) -> str:
    """Return the language in a digit clip's id."""
    return name.split("-")[3]


def nearest_is_right(method: XID, look: Look, source: Source, queries: list[int], gallery: list[int]) -> list[bool]:
    """Tell for each query whether the gallery picture nearest to its sound shows its digit."""
    spoken = embed(method, look, source, queries)["audio"]
    nearest = (spoken @ embed(method, look, source, gallery)["video"].T).argmax(1)
    right = source.labels[torch.tensor(gallery)][nearest] == source.labels[torch.tensor(queries)]
    return [bool(value) for value in right]


def report(gate: str, name: str, seed: int, begun: float, losses: list[float], values: list[float]) -> None:
    """Say on stderr what a run gave."""
    loss = f"last loss {sum(losses) / len(losses):.3f}, " if losses else ""
    figures = " ".join(f"{value:.3f}" for value in values)
    print(
        f"{gate} {name} seed {seed}: {loss}{figures} ({time.perf_counter() - begun:.0f} s)", file=sys.stderr, flush=True
    )


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "r5", "r2"))
    parser.add_argument("folder", type=Path, help="where collections and decoded sets are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--validate", action="store_true", help="r2 on held-out languages and images of the training part"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "prepare":
        arguments.folder.mkdir(parents=True, exist_ok=True)
        prepare(arguments.folder)
        return
    gate = (
        gate_r5(arguments.folder, arguments.seeds)
        if arguments.what == "r5"
        else gate_r2(arguments.folder, arguments.seeds, arguments.validate)
    )
    print(json.dumps({"results": [figure.row() for figure in gate]}, indent=2))


if __name__ == "__main__":
    main()
