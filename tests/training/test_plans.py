"""Plans of runs that fit no computer here: SEER's sizes with the memory that each of N processes would need."""

from __future__ import annotations

import pytest

from coview.data.synthetic import parse_world
from coview.methods.seer import SEERSettings
from coview.methods.swav import SwAV
from coview.training.dry_run import describe
from coview.training.settings import OptimiserSettings, RunSettings, TrainSettings

# Millions of parameters with SwAV's head and 3000 prototypes, and with SEER's own and 16 000.
TOGETHER = {
    "8gf": (42.1, 127.2),
    "16gf": (90.5, 178.7),
    "32gf": (156.0, 245.1),
    "64gf": (301.7, 390.1),
    "128gf": (693.4, 771.3),
    "256gf": (1383.0, 1431.0),
    "10b": (None, 9628.9),
}
WIDTHS = {"8gf": 2016, "16gf": 3024, "32gf": 3712, "64gf": 4920, "128gf": 7392, "256gf": 10444}

LARGE = ("16gf", "32gf", "64gf", "128gf", "256gf")


def plan(settings: SEERSettings, batch_size=512, **train):
    source = parse_world("digits-av:A", "train", count=600, views={"image": settings.view})
    run = RunSettings(
        method="seer",
        method_settings=settings,
        collection="digits-av:A",
        train=TrainSettings(steps=1, batch_size=batch_size, device="cpu", precision="bf16", **train),
        optimiser=OptimiserSettings(kind="larc-swav"),
    )
    return describe(run, source)


@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=pytest.mark.slow) if size in LARGE else size for size in TOGETHER]
)
def test_published_sizes_are_planned_without_memory(size):
    small, large = TOGETHER[size]
    found = plan(SEERSettings(encoder=f"regnety-{size}"))
    assert round(found["parameters"]["trained"] / 1e6, 1) == large
    if small is not None:
        head = {"hidden": (WIDTHS[size],), "head_batchnorm": True, "embedding": 128, "prototypes": 3000}
        found = plan(SEERSettings(encoder=f"regnety-{size}", **head))
        assert round(found["parameters"]["trained"] / 1e6, 1) == pytest.approx(small, abs=0.11)


@pytest.mark.slow
def test_memory_falls_with_processes_sharding_and_recomputing():
    plans = {}
    for name, train in {"plain": {}, "recompute": {"recompute": True}, "full": {"sharding": "full"}}.items():
        needed = plan(SEERSettings(encoder="regnety-256gf"), **train)["memory_megabytes_by_processes"]
        assert list(needed) == ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512"]
        assert list(needed.values()) == sorted(needed.values(), reverse=True)
        plans[name] = needed
    assert plans["full"]["1"] == plans["plain"]["1"]
    assert plans["full"]["512"] < plans["plain"]["512"] - 10_000  # weights, gradients and momentum: 16 gigabytes
    assert plans["recompute"]["8"] < plans["plain"]["8"] / 2


def test_a_plan_without_numbers_is_that_of_a_real_network(monkeypatch):
    planned = plan(SEERSettings.tiny())
    monkeypatch.setattr(SwAV, "shapes_suffice", False)
    real = plan(SEERSettings.tiny())
    assert planned["features"] == real["features"]
    assert planned["parameters"] == real["parameters"]
    together = [found["memory_megabytes"]["together, per process"] for found in (planned, real)]
    assert together[0] == pytest.approx(together[1], rel=0.1)
