"""Gates of the procedural worlds: what is read from a world without learning, and which limits that keeps.

A figure on a procedural world means something only beside these rows. A gate that fails is reported as failing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from coview.data.augment import PRESETS
from coview.data.preprocess import Preprocess
from coview.data.synthetic import parse_world
from coview.data.synthetic.world import World
from coview.data.views import Batch
from coview.encoders import Encoder, build_audio, build_video
from coview.errors import UsageError
from coview.evaluation.low_level import audio_statistics, envelope_variation, motion_lags, video_statistics
from coview.evaluation.probe import average_windows, fit_probe
from coview.evaluation.statistics import Measurement, accuracy, mean
from coview.evaluation.stored import measurements
from coview.files import write_aside
from coview.randomness import make_key

_VERSION = 1  # changes with every change of a feature or a probe
_BATCH = 64
_CLIPS = {"digits-av": (3000, 1500), "objects-av": (2400, 1000), "pushes": (2400, 1000)}  # train, test
_QUICK = (320, 160)
_CALIBRATION = 2560  # clips that set the normalisation statistics of the random encoder
# What is read from which side: label column and the figure's prefix.
_TASKS = {
    "digits-av": (("video", "digit", "video_probe"), ("audio", "digit", "audio_probe")),
    "objects-av": (
        ("video", "picture_object", "video_probe"),
        ("audio", "sound_object", "audio_probe"),
        ("video", "picture_action", "video_action_probe"),
        ("audio", "sound_action", "audio_action_probe"),
    ),
    "pushes": (("video", "block", "video_probe"),),
}
_KNOWN = 2  # pictures whose actions and states are known where the next action is guessed


@dataclass(frozen=True)
class Limit:
    """What a row must keep: at most, or at least, a value; in units of chance or as it is."""

    row: str
    side: Literal["at most", "at least"]
    value: float
    of_chance: bool = False


LIMITS = {
    "digits-av": (
        Limit("video_probe/statistics", "at most", 2, of_chance=True),
        Limit("audio_probe/statistics", "at most", 2, of_chance=True),
        Limit("video_probe/random", "at most", 0.25),
        Limit("audio_probe/random", "at most", 0.25),
        Limit("video_probe/supervised-av", "at least", 0.85),
        Limit("audio_probe/supervised-av", "at least", 0.85),
        Limit("video_probe/shuffled", "at most", 0.35),
        Limit("class_p1_v2a/shuffled", "at most", 0.20),
    ),
    "objects-av": (
        Limit("video_probe/statistics", "at most", 2, of_chance=True),
        Limit("audio_probe/statistics", "at most", 2, of_chance=True),
        Limit("video_action_probe/statistics", "at most", 2, of_chance=True),
        Limit("audio_action_probe/statistics", "at most", 2, of_chance=True),
        Limit("video_probe/random", "at most", 0.45),
        Limit("video_probe/supervised-av", "at least", 0.85),
        Limit("audio_probe/supervised-av", "at least", 0.85),
        Limit("video_probe/shuffled", "at most", 0.45),
    ),
    "pushes": (
        Limit("video_probe/statistics", "at most", 2, of_chance=True),
        Limit("video_probe/random", "at most", 0.45),
        Limit("next_action_r2/statistics", "at most", 0.5),
    ),
}


@dataclass(frozen=True)
class Verdict:
    """A gate's outcome: the row, the limit in the row's own unit, and whether the row keeps it."""

    row: str
    value: float
    side: str
    limit: float
    passed: bool


def verdicts(world_name: str, rows: Sequence[Measurement]) -> list[Verdict]:
    """Judge the rows that a world has limits for; rows that were not measured have no verdict."""
    known = {row.name: row for row in rows}
    found = []
    for limit in LIMITS[world_name.partition(":")[0]]:
        row = known.get(limit.row)
        if row is None:
            continue
        bound = limit.value * (row.chance or 0.0) if limit.of_chance else limit.value
        passed = row.value <= bound if limit.side == "at most" else row.value >= bound
        found.append(Verdict(limit.row, row.value, limit.side, bound, passed))
    return found


def gate_rows(world_name: str, *, seed: int = 0, quick: bool = False) -> list[Measurement]:
    """Return the rows that need no training: plain statistics and a random encoder, on unseen clips.

    The supervised and the shuffled row come from training runs; `verdicts` judges all of them together.

    Args:
        world_name: as in `parse_world`.
        seed: of the world's clips, of the random weights and of the probe's held-out fifth.
        quick: few clips, for tests.
    """
    return [*statistics_rows(world_name, seed=seed, quick=quick), *random_rows(world_name, seed=seed, quick=quick)]


def statistics_rows(world_name: str, *, seed: int = 0, quick: bool = False) -> list[Measurement]:
    """Return the rows "<probe>/statistics": logistic regression on `low_level` numbers (kept in the user's cache).

    For objects, energy variation over time is among the sound's numbers, and "video_action_probe/statistics-lags" reads
    the action from differences over two and three frames, which are close to its definition. Of a world with actions,
    "next_action_r2/statistics" is the share of the next action's variance that is explained, linearly, by the actions
    and states before.
    """
    family = world_name.partition(":")[0]

    def measure(train: World, test: World) -> list[Measurement]:
        made = [_per_block(world, lambda clips: _statistics(clips, family)) for world in (train, test)]
        rows = _probe_rows(family, "statistics", made[0], made[1], seed)
        if family == "objects-av":
            rows.append(_row("video_action_probe/statistics-lags", "lags", "picture_action", made[0], made[1], seed))
        if "actions" in train.tracks:
            rows.append(_guessed_action(made[0], made[1], seed))
        return rows

    return _cached("statistics", world_name, seed, quick, measure)


def random_rows(world_name: str, *, seed: int = 0, quick: bool = False) -> list[Measurement]:
    """Return the rows "<probe>/random": small encoders with drawn weights and calibrated normalisation layers."""
    family = world_name.partition(":")[0]

    def measure(train: World, test: World) -> list[Measurement]:
        size = "tiny" if family == "digits-av" else "small"
        with torch.random.fork_rng():  # initialisers draw from torch's own generator; the caller's is put back
            torch.manual_seed(int(make_key(seed, 0x67617465)))
            builders: dict[str, Callable[[str], Encoder]] = {"video": build_video, "audio": build_audio}
            sides = dict.fromkeys(side for side, *_ in _TASKS[family])
            encoders = nn.ModuleDict({side: builders[side](f"{side}-{size}") for side in sides})
        for layer in encoders.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
                layer.momentum = None  # a plain mean over the calibration's batches
        preprocess = Preprocess({side: train.views[side] for side in sides}, PRESETS["none"])

        @torch.no_grad()
        def encode(clips: dict[str, Tensor]) -> dict[str, Tensor]:
            row = torch.zeros(len(clips["video"]), dtype=torch.int64)
            views = {side: clips[side] for side in sides}
            seen = preprocess(Batch(views=views, row=row, key=row), train=False).views
            return {side: encoders[side](seen[side]) for side in sides} | _labels(clips)

        _per_block(train, encode, min(_CALIBRATION, len(train)))
        encoders.eval()
        return _probe_rows(family, "random", _per_block(train, encode), _per_block(test, encode), seed)

    return _cached("random", world_name, seed, quick, measure)


def _statistics(clips: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    found = {"video": video_statistics(clips["video"])}
    if "audio" in clips:
        found["audio"] = audio_statistics(clips["audio"])
    if "actions" in clips:
        before = torch.cat([clips["actions"][:, : _KNOWN - 1], clips["states"][:, :_KNOWN]], 1)
        found |= {"before": before.flatten(1), "next": clips["actions"][:, _KNOWN - 1]}
    if family == "objects-av":
        found["audio"] = torch.cat([found["audio"], envelope_variation(clips["audio"])], 1)
        found["lags"] = motion_lags(clips["video"])
    return found | _labels(clips)


def _labels(clips: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values for name, values in clips.items() if values.ndim == 1}


def _per_block(
    world: World, function: Callable[[dict[str, Tensor]], dict[str, Tensor]], count: int | None = None
) -> dict[str, Tensor]:
    """Render a world block by block and join what `function` makes of the blocks."""
    blocks = torch.split(torch.arange(count or len(world)), _BATCH)
    parts = [function(world.render(block)) for block in blocks]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _probe_rows(
    family: str, name: str, train: dict[str, Tensor], test: dict[str, Tensor], seed: int
) -> list[Measurement]:
    return [_row(f"{task}/{name}", view, column, train, test, seed) for view, column, task in _TASKS[family]]


def _row(
    name: str, view: str, column: str, train: dict[str, Tensor], test: dict[str, Tensor], seed: int
) -> Measurement:
    classes = int(train[column].max()) + 1
    probe = fit_probe(train[view][:, None], train[column], classes, seed=seed)
    guess = average_windows(probe.logits(test[view][:, None])).argmax(1)
    return accuracy(name, guess == test[column], 1 / classes)


def _guessed_action(train: dict[str, Tensor], test: dict[str, Tensor], seed: int) -> Measurement:
    """Return how much of the next action a line through the training clips explains; 0 is the mean's."""
    known, asked = (functional.pad(each["before"].double(), (0, 1), value=1.0) for each in (train, test))
    line = torch.linalg.lstsq(known, train["next"].double()).solution
    error = (asked @ line - test["next"]).square().sum(1)
    spread = (test["next"].double() - train["next"].double().mean(0)).square().sum(1)
    return mean("next_action_r2/statistics", 1 - error / spread.mean(), 0.0, seed)


def _cached(
    what: str, world_name: str, seed: int, quick: bool, measure: Callable[[World, World], list[Measurement]]
) -> list[Measurement]:
    """Return the kept rows of these very clips, or measure and keep them."""
    counts = _QUICK if quick else _CLIPS[world_name.partition(":")[0]]
    train, test = (parse_world(world_name, split, n, seed) for split, n in zip(("train", "test"), counts, strict=True))
    text = f"{_VERSION} {what} {train.fingerprint} {test.fingerprint} {seed}"
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "coview" / "gates"
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    # A cache: what cannot be read is measured again, and what cannot be written is measured next time.
    with contextlib.suppress(OSError, ValueError, RecursionError, UsageError):
        return measurements(json.loads(path.read_text(encoding="utf-8")), path)
    rows = measure(train, test)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_aside(path, json.dumps([row.row() for row in rows]))
    return rows
