"""Gates on real recordings: xID trained through the decode path on clips rendered from tuxpaint-stamps-default.

R5  memorise the pairs: picture and French description of one item per group, no augmentation; R@1 on the trained
    pairs. It shows that decoding, pairing and optimisation are sound, and nothing about generalisation.
R2  a spoken digit finds the handwritten digit, in languages never heard in training: five folds of languages, images
    of the gallery never seen either; P@1, with shuffled pairs and random weights as controls.

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
from pathlib import Path

import torch
from torch import Tensor

from coview.data.adapters.tuxpaint_digits import LANGUAGE_FOLDS, TRAIN_IMAGES, language_folds
from coview.data.augment.preprocess import Preprocess
from coview.data.augment.settings import PRESETS, AugmentSettings
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.loader import Loader
from coview.data.media_source import MediaSource
from coview.data.memmap import MemmapSource, fill
from coview.data.shuffle import ShuffledPairs
from coview.data.source import Source
from coview.data.views import AudioView, Batch, VideoView
from coview.evaluation.retrieval import rank_pairs
from coview.evaluation.statistics import Measurement, accuracy, bootstrap, over_seeds
from coview.methods.contract import Facts
from coview.methods.xid import XID, XIDSettings

# The pictures differ little within a clip: two frames cost a quarter of eight and carry the same digit.
STAMP_VIEWS = {
    "video": VideoView(frames=2, fps=1.0, size=32, margin=1.0, normalise="clip"),
    "audio": AudioView(seconds=2.0, mels=40, n_fft=512, window=400, hop=320, normalise="clip"),
}
DIGIT_VIEWS = {
    "video": VideoView(frames=2, fps=4.0, size=32, margin=1.0, normalise="clip"),
    "audio": AudioView(seconds=1.0, mels=40, n_fft=512, window=400, hop=320, normalise="clip"),
}
VALIDATION_IMAGE = 1000  # of the 1,200 training images, those from here on are the gallery of `--validate`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; in epochs, so that a larger training part is seen as often as a smaller one."""

    epochs: int
    batch: int
    rate: float
    temperature: float
    augment: AugmentSettings
    decay: float = 0.05


STILL = PRESETS["none"]
R5 = Recipe(epochs=75, batch=128, rate=3e-3, temperature=0.1, augment=STILL, decay=0.0)
R2 = Recipe(
    epochs=22,
    batch=64,
    rate=3e-3,
    temperature=0.1,
    augment=dataclasses.replace(
        STILL,
        shift=3,
        noise=0.05,
        tilt=0.3,
        sound_shift=8,
        sound_noise=0.1,
        time_masked=(0.1, 0.2),
        time_mask=5,
        band_masked=(0.1, 0.2),
        band_mask=4,
    ),
)


class Part:
    """Some rows of a source; implements `Source`."""

    def __init__(self, source: Source, rows: list[int]) -> None:
        self.source, self.rows = source, torch.tensor(rows)
        self.name, self.views, self.classes = source.name, source.views, source.classes
        self.ids = [source.ids[row] for row in rows]
        self.labels = source.labels[self.rows]
        self.fingerprint = f"{source.fingerprint}/{len(rows)}"

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`."""
        return dataclasses.replace(self.source.read(self.rows[row], key), row=row)

    def windows(self, count: int) -> int:
        """See `Source.windows`."""
        return self.source.windows(count)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """See `Source.read_window`."""
        return dataclasses.replace(self.source.read_window(self.rows[row], window, count), row=row)


def prepare(folder: Path) -> None:
    """Index and render both sets, then decode every clip once."""
    for name, views, cuts in (("fr", STAMP_VIEWS, 1), ("digits", DIGIT_VIEWS, 2)):
        collection = folder / name
        if not collection.exists():
            index_source(f"tuxpaint:{name}", collection)
        target = folder / f"{name}-memmap"
        if not target.exists():
            begun = time.perf_counter()
            fill(MediaSource(Collection.open(collection), views), target, cuts=cuts)
            print(f"{name}: decoded in {time.perf_counter() - begun:.0f} s", file=sys.stderr)


def train(source: Source, recipe: Recipe, seed: int) -> tuple[XID, list[float]]:
    """Train xID with in-batch negatives from scratch; return it in evaluation mode, and the loss of every step."""
    torch.manual_seed(seed)
    settings = dataclasses.replace(
        XIDSettings.tiny(),
        video=source.views["video"],
        audio=source.views["audio"],
        audio_encoder="audio-speech",
        variant="in-batch",
        temperature=recipe.temperature,
        q=0.0,
    )
    method = XID(settings, Facts(rows=len(source)))
    if recipe.epochs == 0:
        return calibrated(method, source, recipe, seed), []
    preprocess = Preprocess(source.views, recipe.augment)
    groups = method.parameter_groups(recipe.decay)
    optimiser = torch.optim.AdamW(groups, lr=recipe.rate)
    loader = Loader(source, batch_size=recipe.batch, seed=seed)
    steps, batches = recipe.epochs * loader.steps_per_epoch, loader.stream(0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.15)
    losses = []
    for _ in range(steps):
        step = method(preprocess(next(batches), train=True))
        optimiser.zero_grad()
        step.loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(step.loss.detach()))
    return method.eval(), losses


def calibrated(method: XID, source: Source, recipe: Recipe, seed: int) -> XID:
    """Give a network of random weights its normalisation statistics, so that it is the control it should be."""
    preprocess = Preprocess(source.views, recipe.augment)
    batches = Loader(source, batch_size=recipe.batch, seed=seed).stream(0)
    with torch.no_grad():
        for _ in range(20):
            method(preprocess(next(batches), train=True))
    return method.eval()


@torch.no_grad()
def embed(method: XID, source: Source, rows: list[int]) -> dict[str, Tensor]:
    """Return view -> (len(rows), D) of the middle window."""
    preprocess = Preprocess(source.views, STILL)
    parts: dict[str, list[Tensor]] = {"video": [], "audio": []}
    for chunk in torch.tensor(rows).split(128):
        batch = preprocess(source.read_window(chunk, 0, 1), train=False)
        for name, values in parts.items():
            values.append(method.projectors[name](method.encoders[name](batch.views[name])))
    return {name: torch.cat(values) for name, values in parts.items()}


def gate_r5(folder: Path, seeds: list[int]) -> list[Measurement]:
    """Return R@1 on the trained pairs, both directions averaged, trained and random."""
    source = MemmapSource(folder / "fr-memmap")
    rows = list(range(len(source)))
    single: dict[str, list[Measurement]] = {}
    for seed in seeds:
        for name, recipe in (("xid", R5), ("random", dataclasses.replace(R5, epochs=0))):
            begun = time.perf_counter()
            method, losses = train(source, recipe, seed)
            z = embed(method, source, rows)
            for way, (query, gallery) in (("v2a", ("video", "audio")), ("a2v", ("audio", "video"))):
                hits = rank_pairs(z[query], z[gallery]).hits(1)
                figure = accuracy(f"r5_memorised_{way}_r1/{name}", hits, 1 / len(rows))
                single.setdefault(figure.name, []).append(figure)
            report("r5", name, seed, begun, losses, [float(hits.float().mean())])
    return [over_seeds(figures) for figures in single.values()]


def gate_r2(folder: Path, seeds: list[int], validate: bool) -> list[Measurement]:
    """Return P@1 of speech to picture in unseen languages, mean over folds: true pairs, shuffled, random weights."""
    source = MemmapSource(folder / "digits-memmap")
    runs = {"xid": (R2, False), "shuffled": (R2, True), "random": (dataclasses.replace(R2, epochs=0), False)}
    single: dict[str, list[Measurement]] = {}
    for seed in seeds:
        for name, (recipe, shuffled) in {"xid": runs["xid"]}.items() if validate else runs.items():
            begun = time.perf_counter()
            hits: dict[str, list[bool]] = {}
            means, last = [], []
            for k in range(1, LANGUAGE_FOLDS) if validate else range(LANGUAGE_FOLDS):
                rows, queries, gallery = fold_rows(source, k, validate)
                part: Source = Part(source, rows)
                method, losses = train(ShuffledPairs(part, seed) if shuffled else part, recipe, seed)
                last += losses[-20:]
                correct = nearest_is_right(method, source, queries, gallery)
                means.append(sum(correct) / len(correct))
                for query, right in zip(queries, correct, strict=True):
                    hits.setdefault(language_of(source.ids[query]), []).append(right)
            by_language = torch.tensor([sum(values) / len(values) for values in hits.values()])
            low, high = bootstrap(by_language, seed)
            n = sum(len(values) for values in hits.values())
            what = "r2_validation" if validate else "r2"
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


def nearest_is_right(method: XID, source: Source, queries: list[int], gallery: list[int]) -> list[bool]:
    """Tell for each query whether the gallery picture nearest to its sound shows its digit."""
    spoken = torch.nn.functional.normalize(embed(method, source, queries)["audio"].double(), dim=1)
    shown = torch.nn.functional.normalize(embed(method, source, gallery)["video"].double(), dim=1)
    nearest = (spoken @ shown.T).argmax(1)
    right = source.labels[torch.tensor(gallery)][nearest] == source.labels[torch.tensor(queries)]
    return [bool(value) for value in right]


def report(gate: str, name: str, seed: int, begun: float, losses: list[float], values: list[float]) -> None:
    """Say on stderr what a run gave."""
    loss = f"last loss {sum(losses[-20:]) / len(losses[-20:]):.3f}, " if losses else ""
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
