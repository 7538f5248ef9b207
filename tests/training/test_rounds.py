"""Clusters between epochs, through the whole loop: resume to the bit, any number of processes, features on disk."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
import worlds

from coview.data.augment import PRESETS
from coview.data.synthetic import parse_world
from coview.methods import load_method
from coview.training import checkpoint
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

ROWS, STEPS = 48, 9  # three epochs, three rounds


def settings(slug="xdc", **changes) -> RunSettings:
    options = {"steps": STEPS, "batch_size": 16, "device": "cpu", "workers": 0, "checkpoint_every": 4, "keep": 9}
    return RunSettings(
        method=slug,
        method_settings=dataclasses.replace(load_method(slug).Settings.tiny(), clusters=5),
        collection="digits-av:A",
        augment=PRESETS["digits"],
        train=TrainSettings(**(options | changes)),
        optimiser=OptimiserSettings(lr=1e-3),
        schedule=ScheduleSettings(kind="constant"),
    )


def run(out, run_settings, resume=False):
    method = load_method(run_settings.method).Settings.tiny()
    views = {"video": method.video, "audio": method.audio}
    source = parse_world("digits-av:A", "train", count=ROWS, seed=0, views=views)
    train(run_settings, Path(out), resume=resume, source=source, quiet=True)
    return read_lines(Path(out) / "metrics.jsonl")


def last(out):
    return checkpoint.load(out / "checkpoints" / f"step-{STEPS:08d}").model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("rounds") / "run"
    return out, run(out, settings())


def test_a_round_begins_with_every_epoch(whole):
    out, log = whole
    assert int(last(out)["method.rounds"]) == 3
    assert len({entry["agreement"] for entry in log}) > 1
    assert log[0]["stability"] == 0 < log[-1]["stability"]


@pytest.mark.parametrize("step", [4, 8])
def test_resume_is_equal_to_the_bit(whole, tmp_path, step):
    out, log = whole
    shutil.copytree(out, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("step-*"):
        if int(path.name[5:]) > step:
            shutil.rmtree(path)
    (tmp_path / "run" / "checkpoints" / "last").write_text(f"step-{step:08d}\n")
    assert run(tmp_path / "run", settings(), resume=True) == log
    again = last(tmp_path / "run")
    assert all(torch.equal(again[name], value) for name, value in last(out).items())


@pytest.mark.slow
def test_features_on_disk_are_the_same_features(whole, tmp_path):
    run(tmp_path / "run", settings(features_on_disk=True))
    assert (tmp_path / "run" / "features" / "card.json").exists()
    again = last(tmp_path / "run")
    assert all(torch.equal(again[name], value) for name, value in last(whole[0]).items())


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_every_world_size_makes_the_same_rounds(tmp_path, world):
    # A small rate: at 0.01 these few recordings make a run unstable, and rounding grows twentyfold with every step.
    plain = dataclasses.replace(settings(), optimiser=OptimiserSettings(kind="sgd", lr=1e-4))
    log = run(tmp_path / "alone", plain)
    found = worlds.run(world, run, str(tmp_path / "run"), plain)[0]
    for name in ("loss", "agreement", "stability"):
        curves = [[entry[name] for entry in entries] for entries in (found, log)]
        torch.testing.assert_close(curves[0], curves[1], rtol=1e-4, atol=1e-4)
    there = last(tmp_path / "run")
    for name, value in last(tmp_path / "alone").items():
        if "labels" in name:
            assert torch.equal(there[name], value)
