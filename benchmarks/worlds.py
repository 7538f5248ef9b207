"""The measurements behind docs/worlds.md: training runs on the procedural worlds, each kept as one JSON file.

    python benchmarks/worlds.py --out worlds-runs digits-seeds digits-stroke objects-seeds
    python benchmarks/worlds.py digits-statistics    # what plain statistics read in level A and in its variants

A run that already has its file is skipped, so that a stopped series goes on. One thread; every run is measured on the
validation split (where settings are chosen) and on the test split (what is reported).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.synthetic import COUNTS, parse_world
from coview.data.synthetic.digits import LEVELS, DigitsWorld
from coview.data.synthetic.world import World
from coview.data.views import Batch, VideoView
from coview.encoders import build_audio, build_video
from coview.evaluation.low_level import audio_statistics, video_statistics
from coview.evaluation.probe import average_windows, fit_probe
from coview.evaluation.statistics import wilson
from coview.methods import build
from coview.methods.contract import Facts, Method, Step
from coview.methods.xid import XIDSettings
from coview.randomness import make_key, uniform
from coview.training.schedules import rate_factor
from coview.training.settings import ScheduleSettings

FULL, PROBE, GALLERY = 12 * (5000 // 64), 3000, 500
WIDE_STROKE = replace(LEVELS["A"], threshold=(0.20, 0.65))
LEVEL = {"A-stroke": WIDE_STROKE, "A-timing": replace(LEVELS["A"], segment_jitter=0.45)}
AUGMENT = {
    "digits-av": PRESETS["digits"],
    "objects-av": replace(
        PRESETS["none"], flip=0.5, shift=4, brightness=0.2, contrast=0.2, saturation=0.4, hue=0.1, noise=0.05,
        sound_shift=32, sound_noise=0.2,
    ),
}  # fmt: skip


# (view, label column, figure) of every probe, and (picture's column, sound's column, suffix) of every class P@1.
TASKS = {
    "digits-av": [("video", "digit", "video_probe"), ("audio", "digit", "audio_probe")],
    "objects-av": [
        ("video", "picture_object", "video_probe"),
        ("audio", "sound_object", "audio_probe"),
        ("video", "picture_action", "video_action_probe"),
        ("audio", "sound_action", "audio_action_probe"),
    ],
}
PAIRS = {
    "digits-av": [("digit", "digit", "")],
    "objects-av": [("picture_object", "sound_object", ""), ("picture_action", "sound_action", "_action")],
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run; steps of `batch` pairs."""

    world: str
    steps: int
    seed: int  # of the world, the weights and the order
    method: str = "infonce"  # or "supervised"
    shuffled: bool = False
    batch: int = 64
    rate: float = 3e-3
    warm_up: float = 0.15
    hold: float = 0.5

    @property
    def name(self) -> str:
        """File name of the run."""
        world = self.world.replace(":", "-").replace("+", "_")
        kind = f"{self.method}{'.shuffled' if self.shuffled else ''}"
        return f"{world}.{kind}.{self.steps}x{self.batch}.rate{self.rate}.hold{self.hold}.seed{self.seed}"


def series() -> dict[str, list[Run]]:
    """Return the named lists of runs."""
    digits = [Run(world="digits-av:A", steps=FULL, seed=s, shuffled=x) for x in (False, True) for s in (1, 2, 3)]

    def variant(level: str) -> list[Run]:
        world = f"digits-av:{level}"
        return [
            *(Run(world=world, steps=FULL, seed=s) for s in (1, 2, 3)),
            Run(world=world, steps=FULL, seed=1, shuffled=True),
            Run(world=world, steps=FULL, seed=1, method="supervised"),
        ]

    objects = [Run(world="objects-av:object", steps=n, seed=s) for n in (450, 900) for s in (2, 3, 4)]
    both = [Run(world="objects-av:object+action", steps=n, seed=s) for n in (900, 1350) for s in (2, 3)]
    return {
        "digits-seeds": digits,
        "digits-supervised": [Run(world="digits-av:A", steps=FULL, seed=1, method="supervised")],
        "digits-stroke": variant("A-stroke"),
        "digits-timing": variant("A-timing"),
        "digits-C": [Run(world="digits-av:C", steps=2 * FULL, seed=1, method="supervised")],
        "objects-supervised": [Run(world="objects-av:object", steps=450, seed=2, method="supervised")],
        "objects-shuffled": [Run(world="objects-av:object", steps=n, seed=2, shuffled=True) for n in (450, 900)],
        "objects-seeds": objects,
        "objects-both": both,
    }


def open_world(name: str, split: str, seed: int) -> World:
    """Open a world, or one of the variants of level A, with the views of the cheap setting."""
    family, _, variant = name.partition(":")
    count = COUNTS[family][split]
    if variant in LEVEL:
        return DigitsWorld(LEVEL[variant], split, count, seed)
    return parse_world(name, split, count, seed)


class Clips:
    """A world rendered once, held as bytes and 16-bit samples."""

    def __init__(self, world: World, count: int | None = None) -> None:
        parts = [world.render(block) for block in torch.split(torch.arange(count or len(world)), 64)]
        self.video = torch.cat([part["video"] for part in parts])
        self.audio = torch.cat([(part["audio"] * 32768).to(torch.int16) for part in parts])
        names = [name for name, values in parts[0].items() if values.ndim == 1]
        self.labels = {name: torch.cat([part[name] for part in parts]) for name in names}

    def cut(self, video: Tensor, audio: Tensor, view: VideoView, fps: float, phase: Tensor) -> dict[str, Tensor]:
        """Return raw views of the pictures `video` and the sounds `audio` (both int64 (B,))."""
        step = round(fps / view.fps)
        frame = (phase % step)[:, None] + torch.arange(view.frames) * step
        frames = self.video[video].gather(2, frame[:, None, :, None, None].expand(-1, 3, -1, *self.video.shape[3:]))
        return {"video": frames, "audio": self.audio[audio].float() / 32768}


class Ceiling(nn.Module):
    """A supervised classifier for each view ALONE: with joined features the easier view would do all the work."""

    def __init__(self, settings: XIDSettings, classes: int) -> None:
        super().__init__()
        self.views = {"video": settings.video, "audio": settings.audio}
        encoders = {"video": build_video(settings.video_encoder), "audio": build_audio(settings.audio_encoder)}
        self.encoders = nn.ModuleDict(encoders)
        self.projectors = nn.ModuleDict()
        self.classifiers = nn.ModuleDict({name: nn.Linear(encoder.dim, classes) for name, encoder in encoders.items()})

    def forward(self, batch: Batch) -> Step:
        """Return the sum of the views' cross-entropies."""
        outputs = [self.classifiers[name](self.encoders[name](batch.views[name])) for name in self.views]
        return Step(torch.stack([cross_entropy(output, batch.label) for output in outputs]).sum())


def make_method(run: Run, world: World) -> Method | Ceiling:
    """Build the networks of a run; four of eight frames for digits, all eight for objects."""
    digits = run.world.startswith("digits")
    video = VideoView(frames=4, fps=8.0, size=32, margin=1.0, normalise="clip") if digits else world.views["video"]
    own = {"video": video, "audio": world.views["audio"]}
    own |= {} if digits else {"video_encoder": "video-small", "audio_encoder": "audio-small"}
    settings = replace(XIDSettings.tiny(), **own, variant="in-batch", temperature=0.1, q=0.0, q_max=0.0)
    torch.manual_seed(run.seed)
    if run.method == "supervised":
        return Ceiling(settings, len(world.classes))
    return build("xid", settings, Facts(rows=len(world), classes=len(world.classes)))


def train(run: Run, out: Path) -> None:
    """Train one run, measure it and write its file."""
    path = out / f"{run.name}.json"
    if path.exists():
        return
    began = time.process_time()
    worlds = {split: open_world(run.world, split, run.seed) for split in ("train", "validation", "test")}
    clips = {split: Clips(world) for split, world in worlds.items()}
    rendered = time.process_time() - began
    method = make_method(run, worlds["train"])
    prepare = Preprocess(method.views, AUGMENT[run.world.partition(":")[0]])
    optimiser = torch.optim.AdamW(method.parameters(), run.rate, weight_decay=0.02)
    schedule = ScheduleSettings(kind="cosine", warm_up=run.warm_up, hold=run.hold)
    rows, per_epoch = len(worlds["train"]), len(worlds["train"]) // run.batch
    partner = torch.argsort(uniform(make_key(run.seed, torch.arange(rows)), 9)) if run.shuffled else torch.arange(rows)
    curve, total, seconds = [], 0.0, 0.0
    for step in range(run.steps):
        start = time.process_time()
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            order = torch.argsort(uniform(make_key(run.seed, epoch, torch.arange(rows)), 8))
        row = order[place * run.batch : (place + 1) * run.batch]
        key = sample_keys(run.seed, epoch, place * run.batch + torch.arange(run.batch))
        view = method.views["video"]
        raw = clips["train"].cut(row, partner[row], view, worlds["train"].fps, make_key(key, 5) & 7)
        batch = prepare(Batch(views=raw, row=row, key=key, label=worlds["train"].labels[row]), train=True)
        for group in optimiser.param_groups:
            group["lr"] = run.rate * rate_factor(step, run.steps, schedule)
        loss = method(batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seconds += time.process_time() - start
        total += loss.item()
        if (step + 1) % per_epoch == 0:
            curve.append({"step": step + 1, "seconds": round(seconds, 1), "loss": round(total / per_epoch, 3)})
            total = 0.0
    figures = measure(run, method, prepare, clips, worlds)
    result = {"run": asdict(run), "seconds": seconds, "rendering_seconds": rendered, "curve": curve, "figures": figures}
    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(run.name, f"{seconds:.0f} s", json.dumps({k: v["value"] for k, v in figures["test"].items()}), flush=True)


def measure(
    run: Run, method: Method | Ceiling, prepare: Preprocess, clips: dict[str, Clips], worlds: dict[str, World]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return figures by split: probes on the encoders' outputs, and class P@1 in the space of the heads."""
    method.eval()
    known = {split: embed(method, prepare, clips[split], worlds[split]) for split in clips}
    found: dict[str, dict[str, dict[str, float]]] = {}
    family = run.world.partition(":")[0]
    for split in ("validation", "test"):
        labels, figures = clips[split].labels, {}
        for view, column, name in TASKS[family]:
            truth = clips["train"].labels[column][:PROBE]
            probe = fit_probe(known["train"][view][:PROBE, None], truth, int(truth.max()) + 1)
            guess = average_windows(probe.logits(known[split][view][:, None])).argmax(1)
            figures[name] = proportion(guess == labels[column])
        if method.projectors:
            scores = known[split]["video_head"][:GALLERY] @ known[split]["audio_head"][:GALLERY].T
            for picture, sound, suffix in PAIRS[family]:
                shown, heard = labels[picture][:GALLERY], labels[sound][:GALLERY]
                figures[f"class_p1_v2a{suffix}"] = proportion(heard[scores.argmax(1)] == shown)
                figures[f"class_p1_a2v{suffix}"] = proportion(shown[scores.argmax(0)] == heard)
        found[split] = figures
    return found


@torch.no_grad()
def embed(method: Method | Ceiling, prepare: Preprocess, clips: Clips, world: World) -> dict[str, Tensor]:
    """Return features and normalised head outputs of all clips."""
    parts: dict[str, list[Tensor]] = {}
    for row in torch.split(torch.arange(len(clips.video)), 250):
        raw = clips.cut(row, row, method.views["video"], world.fps, torch.zeros_like(row))
        seen = prepare(Batch(views=raw, row=row, key=row), train=False).views
        for view, encoder in method.encoders.items():
            feature = encoder(seen[view])
            parts.setdefault(view, []).append(feature)
            if method.projectors:
                head = normalize(method.projectors[view](feature), dim=1)
                parts.setdefault(f"{view}_head", []).append(head)
    return {name: torch.cat(part) for name, part in parts.items()}


def statistics(world: str) -> None:
    """Print what logistic regression on plain statistics reads, as the gates do, for a variant of level A too."""
    rows: dict[str, dict[str, Tensor]] = {}
    for split, count in (("train", PROBE), ("test", 1500)):
        clips = Clips(open_world(world, split, 0), count)
        numbers = [video_statistics(part) for part in clips.video.split(64)]
        sounds = [audio_statistics(part.float() / 32768) for part in clips.audio.split(64)]
        rows[split] = {"video": torch.cat(numbers), "audio": torch.cat(sounds), "digit": clips.labels["digit"]}
    figures = {}
    for view, column, name in TASKS["digits-av"]:
        probe = fit_probe(rows["train"][view][:, None], rows["train"][column], 10)
        guess = average_windows(probe.logits(rows["test"][view][:, None])).argmax(1)
        figures[name] = proportion(guess == rows["test"][column])
    print(world, json.dumps(figures), flush=True)


def proportion(correct: Tensor) -> dict[str, float]:
    """Return a share with its interval and n."""
    hits, n = int(correct.sum()), correct.numel()
    low, high = wilson(hits, n)
    return {"value": round(hits / n, 4), "low": round(low, 4), "high": round(high, 4), "n": n}


def main() -> None:
    """Run the named series one after the other."""
    known = series()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", nargs="+", choices=[*sorted(known), "digits-statistics"])
    parser.add_argument("--out", type=Path, default=Path("worlds-runs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.series:
        if name == "digits-statistics":
            for variant in ("A", *LEVEL):
                statistics(f"digits-av:{variant}")
            continue
        for run in known[name]:
            train(run, arguments.out)


if __name__ == "__main__":
    main()
