"""Up to 20 steps of the official training codes, from equal weights and draws, equal ours to 1e-9 in float64.

tests/golden/trajectory-*.npz: losses, weights and memories of the official loss, memory and optimiser code (SwAV: its
training loop with queue, frozen prototypes and LARC) with small stand-in networks, which replace ours here. The
optimiser's groups are those of each method's published recipe.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from coview.data.views import Batch
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.methods.parts.crops import SmallCrops
from coview.objectives.memory_bank import MemoryBank
from coview.training.optimisers import make_optimiser

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS, Q_EPOCHS = 40, 4


def load(name):
    with np.load(GOLDEN / f"trajectory-{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


class Flat(nn.Module):
    def __init__(self, wide, dim):
        super().__init__()
        self.linear, self.dim = nn.Linear(wide, dim), dim

    def forward(self, x):
        return self.linear(x.flatten(1)).relu()


class Pooled(nn.Linear):
    dim = 24

    def forward(self, x):
        return super().forward(nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)).relu()


def take(module, golden, prefix):
    module.load_state_dict({k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)})


def check(module, golden, prefix):
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, golden[f"after.{prefix}{name}"], rtol=0, atol=1e-9)


def optimiser_of(method, **changes):
    settings = dataclasses.replace(method.recipe().optimiser, **changes)
    groups = method.parameter_groups(settings.weight_decay, settings.decay)
    return make_optimiser(groups, settings, torch.device("cpu"))


def between_views(slug, golden, monkeypatch, **changes):
    """Build a method of picture and sound around the stand-ins, with the official draws."""
    settings = dataclasses.replace(load_method(slug).Settings.tiny(), embedding=16, **changes)
    method = build(slug, settings, Facts(rows=ROWS))
    batchnorm = "projector.video.1.weight" in golden
    for view, wide in (("video", 96), ("audio", 30)):
        norm = [nn.BatchNorm1d(24)] if batchnorm else []
        method.encoders[view] = Flat(wide, 20)
        method.projectors[view] = nn.Sequential(nn.Linear(20, 24), *norm, nn.ReLU(), nn.Linear(24, 16))
    method = method.double()
    for view in ("video", "audio"):
        take(method.encoders[view], golden, f"encoder.{view}.")
        take(method.projectors[view], golden, f"projector.{view}.")
        if f"memory_{view}" in golden:
            method.banks[view].memory.copy_(golden[f"memory_{view}"])
    return method


def follow(method, golden, monkeypatch, epochs=1):
    """Take the official steps, and compare loss by loss, then weights and memories."""
    optimiser = optimiser_of(method, lr=2e-3, weight_decay=1e-5)
    for step, row in enumerate(golden["rows"]):
        if "negatives" in golden:
            drawn = golden["negatives"][step]
            monkeypatch.setattr(MemoryBank, "draw", lambda *_, drawn=drawn: drawn)
            monkeypatch.setattr("coview.methods.cma.outside", lambda *_, drawn=drawn: drawn)
        views = {view: golden[view][row].double() for view in ("video", "audio")}
        epoch = step * epochs // len(golden["rows"])
        optimiser.zero_grad()
        result = method(Batch(views=views, row=row, key=row, epoch=epoch, epochs=epochs))
        torch.testing.assert_close(result.loss.detach(), golden["losses"][step], rtol=0, atol=1e-9)
        result.loss.backward()
        optimiser.step()
        method.after_step()
    for view in ("video", "audio"):
        check(method.encoders[view], golden, f"encoder.{view}.")
        check(method.projectors[view], golden, f"projector.{view}.")
        if f"after.memory_{view}" in golden:
            memory = method.banks[view].memory
            torch.testing.assert_close(memory, golden[f"after.memory_{view}"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "within"), [("avid", 0.0), ("joint", 1.0)])
def test_avid(name, within, monkeypatch):
    golden = load(name)
    method = between_views("avid", golden, monkeypatch, negatives=24, within=within, head_batchnorm=False)
    follow(method, golden, monkeypatch)


def test_cma(monkeypatch):
    golden = load("cma")
    method = between_views(
        "cma",
        golden,
        monkeypatch,
        negatives=24,
        positives=5,
        within_negatives=12,
        as_released=True,
        head_batchnorm=False,
    )
    method.positives.copy_(golden["positive_set"])
    follow(method, golden, monkeypatch)


def test_xid(monkeypatch):
    golden = load("xid")
    method = between_views("xid", golden, monkeypatch, negatives=24, as_released=True, head_batchnorm=False)
    each = len(golden["rows"]) // Q_EPOCHS
    found = [method.q(step // each, Q_EPOCHS) for step in range(len(golden["rows"]))]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), golden["q"], rtol=0, atol=1e-12)
    follow(method, golden, monkeypatch, Q_EPOCHS)


def test_vicreg(monkeypatch):
    golden = load("vicreg")
    follow(between_views("av-vicreg", golden, monkeypatch), golden, monkeypatch)


def test_swav():
    golden = load("swav")
    settings = dataclasses.replace(
        load_method("swav").Settings.tiny(), small=SmallCrops(number=2, size=8, area=(0.2, 0.5)), prototypes=12,
        queue=8, queue_epoch=1, freeze=5, temperature=0.1, epsilon=0.05, iterations=3,
    )  # fmt: skip
    method = build("swav", settings, Facts(rows=ROWS))
    method.encoders["image"] = Pooled(48, 24)
    method.projectors["image"] = nn.Sequential(nn.Linear(24, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
    method = method.double()
    take(method.encoders["image"], golden, "encoder.")
    take(method.projectors["image"], golden, "projector.")
    with torch.no_grad():
        method.prototypes.weight.copy_(golden["prototypes"])
    optimiser = optimiser_of(method)
    for step, rate in enumerate(golden["lr"].tolist()):
        for group in optimiser.param_groups:
            group["lr"] = rate
        views = {name: golden[f"view{i}"][step].double() for i, name in enumerate(method.views)}
        row = golden["rows"][step]
        optimiser.zero_grad()
        result = method(Batch(views=views, row=row, key=row, epoch=step // 8, epochs=2))
        torch.testing.assert_close(result.loss.detach(), golden["losses"][step], rtol=0, atol=1e-9)
        result.loss.backward()
        optimiser.step()
        method.after_step()
    check(method.encoders["image"], golden, "encoder.")
    check(method.projectors["image"], golden, "projector.")
    # The official loop brings them to unit length when the next step begins, ours when the step ends.
    expected = nn.functional.normalize(golden["after.prototypes"], dim=1)
    torch.testing.assert_close(method.prototypes.weight.detach(), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(method.queue.embeddings, golden["queue"], rtol=0, atol=1e-9)
