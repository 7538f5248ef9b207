"""`coview demo`: the whole path on a small world, with its controls, in a few minutes on a laptop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import tyro

from coview.cli.memory import PeakMemory
from coview.cli.output import Output
from coview.errors import CoviewError, UsageError

if TYPE_CHECKING:
    from coview.data.views import ViewSpec
    from coview.evaluation.statistics import Measurement
    from coview.methods.xid import XIDSettings
    from coview.model import Model
    from coview.training.settings import RunSettings

DESCRIPTION = """Make a small world of handwritten digits and spoken-like sounds that share only the class; learn from
the pairs without labels; measure against shuffled pairs, random weights, plain statistics and supervision; search MP4
files; write a page with pictures and sounds. A few minutes on two cores.

Examples:
  coview demo
  coview demo -o my-demo --seed 1
  coview demo --json > demo.json
"""

WORLD = "digits-av:A"
INDEXED, ASKED = 320, 40  # MP4 files in the searched collection, and files that it has never seen
# glibc hands large blocks back after each use and takes them anew page by page: a twelfth of a step's CPU time.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
EPOCHS = {"xid": 12, "shuffled": 12, "supervised-av": 6}  # the control is as long as the run


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("coview-demo")
    """Folder for everything the demo makes; must be empty or not there yet."""
    seed: int = 0
    """Seed of the weights and of the order of training."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview demo", description=DESCRIPTION, args=argv)
    output, out, started = Output(json=arguments.json), arguments.out, time.perf_counter()
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty; choose another folder with -o, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes started below: two run at a time, one core each
    os.environ.update(KEEP_MEMORY)
    with PeakMemory(at_once=2) as memory:
        output.say(f"1/5  A world: digits to see and to hear that share nothing but the class ({WORLD})")
        # In processes of their own: what they take is given back, and this one stays small until it measures.
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as beside:
            steps = [beside.submit(prepare, out, arguments.seed), beside.submit(make_clips, out)]
            for step in steps:
                step.result()
        output.say("2/5  Learning: xID on true pairs; beside it the same on shuffled pairs, and a supervised ceiling")
        with learn(out, output) as wait:
            output.say("3/5  Measuring on handwriting and speakers that training has not seen")
            results, model = measure(out, arguments.seed, output, wait)
        output.say(f"4/5  Searching {INDEXED} MP4 files with the sound and the picture of {ASKED} others")
        searches, found = search_files(out, model)
        output.say("5/5  Writing the page")
        page = write_page(out, model, [*results, *found])
    result = {
        "world": WORLD,
        "seed": arguments.seed,
        "clips_written": INDEXED + ASKED,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_gb": round(memory.gigabytes, 2),
        "peak_memory_is": memory.measure,
        "report": str(page),
        "searches": searches,
        "results": [measurement.row() for measurement in (*results, *found)],
    }
    for line in describe(searches):
        output.say(line)
    output.result(result if arguments.json else {**result, "searches": len(searches)})
    output.next("coview", "explain", "--model", out / "xid", "--collection", out / "collection")
    output.say("The searched films as a page to look at, to listen to and to search by example:")
    output.next("coview", "serve", "--model", out / "xid", "--collection", out / "collection")
    return 0


def method_settings() -> XIDSettings:
    """Return xID in its in-batch form with plain InfoNCE: the bank's form starts too slowly for a few minutes."""
    from coview.methods.xid import XIDSettings

    tiny = XIDSettings.tiny()
    half = replace(tiny.video, frames=4, fps=8.0)  # every second frame: half the work
    return replace(tiny, video=half, variant="in-batch", temperature=0.1, q=0.0)


def run_settings(out: Path, name: str, seed: int) -> RunSettings:
    """Return the settings of one of the three runs."""
    from coview.data.augment import PRESETS
    from coview.methods.supervised_av import SupervisedAVSettings
    from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

    own = method_settings()
    supervised = name == "supervised-av"
    # A classifier for each view: with joined features the sound alone solves the task, and the picture learns little.
    ceiling = replace(SupervisedAVSettings.tiny(), video=own.video, audio=own.audio, fusion="per-view")
    return RunSettings(
        method="supervised-av" if supervised else "xid",
        method_settings=ceiling if supervised else own,
        collection=str(out / "world" / "train"),
        seed=seed,
        shuffled=name == "shuffled",
        augment=PRESETS["digits"],
        train=TrainSettings(epochs=EPOCHS[name], batch_size=64, device="cpu", workers=0),
        optimiser=OptimiserSettings(kind="adamw", lr=3e-3, weight_decay=0.02),
        schedule=ScheduleSettings(kind="cosine", warm_up=0.15, hold=0.5),
    )


def prepare(out: Path, seed: int) -> None:
    """Write the settings of the runs, and render the training and test clips once, as memory-mapped arrays."""
    from coview.data.memmap import fill
    from coview.data.open import open_source
    from coview.settings import dump_yaml
    from coview.training.settings import run_to_dict

    for name in EPOCHS:
        dump_yaml(run_to_dict(run_settings(out, name, seed)), out / f"{name}.yaml")
    own = method_settings()
    views: dict[str, ViewSpec] = {"video": own.video, "audio": own.audio}
    # Pictures in both phases of the frames; the sound is as long as the clip.
    fill(open_source(WORLD, views, split="train"), out / "world" / "train", cuts=2, once=["audio"])
    fill(open_source(WORLD, views, split="test"), out / "world" / "test", placing="even")


def make_clips(out: Path) -> None:
    """Write MP4 files of unseen clips, and index most of them; the others will ask."""
    from coview.data.index import index_source
    from coview.data.synthetic import parse_world
    from coview.data.synthetic.export import write_mp4

    manifest = write_mp4(parse_world(WORLD, "test", INDEXED, 0), out / "media" / "indexed")
    write_mp4(parse_world(WORLD, "test", ASKED, 1), out / "media" / "asked")
    with Output().steps() as progress:
        collection = index_source(str(manifest), out / "collection", workers=0, progress=progress)
    if len(collection) != INDEXED:
        raise CoviewError(f"{out / 'collection'}: {len(collection)} of {INDEXED} written clips could be indexed")


@contextmanager
def learn(out: Path, output: Output) -> Iterator[Callable[[], None]]:
    """Train the true pairs and beside them the control; then go on while the ceiling learns.

    Yields a function that waits for the ceiling; leaving the context ends whatever still runs.
    """

    def start(name: str, method: str, log: IO[bytes] | None) -> subprocess.Popen[bytes]:
        words = ["pretrain", method, "--settings", str(out / f"{name}.yaml"), "-o", str(out / name)]
        return subprocess.Popen([sys.executable, "-m", "coview", *words], stdout=log or subprocess.DEVNULL, stderr=log)

    with (out / "beside.log").open("wb") as log:
        running = {"shuffled": start("shuffled", "xid", log), "xid": start("xid", "xid", None)}
        try:
            finish("xid", running["xid"], out)
            output.say("     the control is still learning")
            finish("shuffled", running["shuffled"], out)
            running["supervised-av"] = start("supervised-av", "supervised-av", log)
            yield lambda: finish("supervised-av", running["supervised-av"], out)
        finally:
            for process in running.values():
                process.terminate()
                process.wait()


def finish(name: str, process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait for a training process; raises CoviewError when it fails."""
    code = process.wait()
    if code != 0:
        raise CoviewError(f"training {name} ended with exit code {code}; its message is above or in {out}/beside.log")


def measure(out: Path, seed: int, output: Output, wait: Callable[[], None]) -> tuple[list[Measurement], Model]:
    """Measure the three models, the ceiling last, and random weights, and add the world's plain statistics."""
    from coview.data.open import open_source
    from coview.evaluation.controls import random_weights
    from coview.evaluation.gates import statistics_rows
    from coview.evaluation.protocols import evaluate
    from coview.model import Model

    train, test = (open_source(str(out / "world" / split), None) for split in ("train", "test"))
    true_pairs = Model.from_run(out / "xid")
    results = statistics_rows(WORLD)
    with output.steps() as show:
        for name in ("xid", "shuffled", "random", "supervised-av"):
            if name == "supervised-av":
                output.say("     the ceiling is still learning")
                wait()
            model = random_weights(true_pairs, train, seed=seed) if name == "random" else Model.from_run(out / name)
            protocols = ["linear-probe", "knn"] if name == "supervised-av" else ["linear-probe", "knn", "retrieval"]
            result = evaluate(protocols, model, train, test, name=name, seed=seed, progress=show)
            if name in EPOCHS:
                result.save(out / name / "evaluations" / "demo.json")
            results += result.results
    return results, true_pairs


def search_files(out: Path, model: Model) -> tuple[list[dict[str, Any]], list[Measurement]]:
    """Ask the collection of MP4 files with each query's sound for pictures, and with its picture for sounds.

    Returns every answer, and the share of queries whose first answer has their class.
    """
    import torch

    from coview.data.collection import Collection
    from coview.data.media_source import MediaSource
    from coview.embedding.stored import store
    from coview.evaluation.statistics import accuracy
    from coview.search.query import search

    collection = Collection.open(out / "collection")
    source = MediaSource(collection, model.views)
    paths = [recording.path for recording in collection.recordings]
    stored = store(model, source, out / "embeddings", paths=paths)
    truth = {line["path"]: line["label"] for line in read_manifest(out / "media" / "asked" / "manifest.jsonl")}
    labels = {recording.id: recording.label for recording in collection.recordings}
    queries = sorted((out / "media" / "asked").glob("*.mp4"))
    embedded = model.embed(queries)
    answers: list[dict[str, Any]] = []
    shares: list[Measurement] = []
    for asked, wanted in (("audio", "video"), ("video", "audio")):
        right = []
        for path, vector in zip(queries, embedded[asked], strict=True):
            hits = search(stored, wanted, vector, k=5)
            found = [{**vars(hit), "label": labels[hit.id]} for hit in hits]
            right.append(labels[hits[0].id] == truth[path.name])
            answers.append({"query": str(path), "from": asked, "to": wanted, "label": truth[path.name], "hits": found})
        name = f"search_p1_{asked[0]}2{wanted[0]}/xid"
        shares.append(accuracy(name, torch.tensor(right), chance=0.1))
    return answers, shares


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_page(out: Path, model: Model, results: list[Measurement]) -> Path:
    """Write the report of the run on true pairs, with everything that was measured beside it."""
    from coview.data.open import open_source
    from coview.evaluation.report import write_report

    test = open_source(str(out / "world" / "test"), None)
    return write_report(out / "xid", results=results, model=model, source=test)


def describe(searches: list[dict[str, Any]]) -> list[str]:
    """Return a few searches as lines for people: the digit that asks, and the digits that are found."""
    lines = ["", "A few searches (a digit's sound or picture, and the five files found with it):"]
    half = len(searches) // 2
    for answer in [*searches[:3], *searches[half : half + 3]]:
        found = " ".join(hit["label"] for hit in answer["hits"])
        lines.append(f"  {answer['from']} of a {answer['label']} ({Path(answer['query']).name}) -> {found}")
    return [*lines, ""]
