"""A small RegNetY divided over processes learns as data parallelism does; its checkpoints fit any number of them."""

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
from coview.methods.seer import SEERSettings
from coview.training import checkpoint
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

STEPS = 6


def settings(steps=STEPS, kind="larc", **changes) -> RunSettings:
    return RunSettings(
        method="seer",
        method_settings=load_method("seer").Settings.tiny(),
        collection="digits-av:A",
        augment=PRESETS["digits"],
        train=TrainSettings(steps=steps, batch_size=16, device="cpu", workers=0, watch_every=3, **changes),
        optimiser=OptimiserSettings(kind=kind, lr=0.3 if kind == "larc" else 1e-3),
        schedule=ScheduleSettings(kind="constant"),
    )


def run(out: str, run_settings: RunSettings, resume: bool = False) -> list[float]:
    view = SEERSettings.tiny().view
    source = parse_world("digits-av:A", "train", seed=0, views={view.stream: view})
    train(run_settings, Path(out), resume=resume, source=source, quiet=True)
    return [entry["loss"] for entry in read_lines(Path(out) / "metrics.jsonl")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, list[float]]:
    out = tmp_path_factory.mktemp("alone") / "run"
    return out, run(str(out), settings())


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_divided_equals_data_parallel_and_one_process(alone, tmp_path, recompute):
    curves = {}
    for sharding in ("none", "full"):
        out = tmp_path / sharding
        changed = settings(sharding=sharding, recompute=recompute)
        curves[sharding] = worlds.run(2, run, str(out), changed)[0]
    torch.testing.assert_close(curves["full"], curves["none"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(curves["full"], alone[1], rtol=1e-4, atol=1e-4)
    first, second = (checkpoint.load(tmp_path / name / "checkpoints" / f"step-{STEPS:08d}") for name in curves)
    assert list(first.model) == list(second.model)
    for name, value in first.model.items():
        torch.testing.assert_close(second.model[name], value, rtol=1e-2, atol=2e-3)
    assert (tmp_path / "full" / "model" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["larc", "adam"])
def test_a_divided_run_continues_on_any_number_of_processes(tmp_path, kind):
    half = settings(steps=STEPS // 2, kind=kind, sharding="full")
    longer = dataclasses.replace(half, train=dataclasses.replace(half.train, steps=STEPS))
    worlds.run(2, run, str(tmp_path / "half"), half)
    written = tmp_path / "half" / "settings.yaml"  # a run of more steps from the beginning would have this one
    written.write_text(written.read_text().replace(f"steps: {STEPS // 2}", f"steps: {STEPS}"))
    curves = {}
    for world in (1, 2, 4):
        out = tmp_path / str(world)
        shutil.copytree(tmp_path / "half", out)
        curves[world] = worlds.run(world, run, str(out), longer, True)[0]
        assert len(curves[world]) == STEPS
    torch.testing.assert_close(curves[1], curves[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(curves[4], curves[2], rtol=1e-4, atol=1e-4)
