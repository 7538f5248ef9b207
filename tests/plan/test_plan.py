"""Two small methods that the plan was made for: each is one file, and no shared file knows of it.

They go when the published system that does the same lands (ccl, uavm).
"""

import json
import math

import pytest
import torch

from coview import methods
from coview.data.augment import PRESETS
from coview.data.joined import JoinedSource
from coview.data.open import open_source
from coview.data.views import Batch
from coview.embedding.extract import extract
from coview.embedding.stored import store
from coview.interchange.onnx import export_onnx
from coview.methods import load_method, views_of
from coview.methods.recipe import OptimiserSettings
from coview.model import Model
from coview.randomness import normal
from coview.search.query import search, stored_vector
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import RunSettings, TrainSettings

SLUGS = {
    "plan-student": "plan.student:Student",
    "plan-joint": "plan.joint:Joint",
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for slug, place in SLUGS.items():
        monkeypatch.setitem(methods.METHODS, slug, place)


class Table:
    """Features and sequences in memory: ten classes of six recordings; left and right share the class."""

    name, labels, classes, fingerprint = "table", torch.arange(60) % 10, [str(c) for c in range(10)], "table"

    def __init__(self, views, ids=None):
        self.views, self.ids = views, ids or [f"r{row:02d}" for row in range(60)]

    def __len__(self):
        return len(self.ids)

    def read(self, row, key):
        row = row.long()
        batch = Batch(views={}, row=row, key=key, label=self.labels[row % 60])
        for stream, (name, view) in enumerate(self.views.items()):
            value = normal(row % 10, stream, *view.shape) + 0.2 * normal(1000 + row, stream, *view.shape)
            if view.sequence:
                batch.length[name] = 1 + row % view.shape[0]
                value = value * (torch.arange(view.shape[0]) < batch.length[name][:, None])[..., None]
            batch.start[name] = torch.zeros(len(row), dtype=torch.float64)
            batch.views[name], batch.present[name] = value, torch.ones(len(row), dtype=torch.bool)
        return batch

    def windows(self, count):
        return 1

    def read_window(self, row, window, count):
        return self.read(row, row)


def run(slug, source, out, steps=12):
    settings = RunSettings(
        method=slug,
        collection="made",
        augment=PRESETS["none"],
        train=TrainSettings(steps=steps, batch_size=12, device="cpu", workers=0, watch_every=4),
        optimiser=OptimiserSettings(lr=1e-2, weight_decay=0.0),
    )
    train(settings, out, source=source, quiet=True)
    log = read_lines(out / "metrics.jsonl")
    assert len(log) == steps and all(math.isfinite(line["loss"]) for line in log)
    assert log[-1]["loss"] < log[0]["loss"]
    return Model.from_run(out)


def wanted(slug):
    return views_of(slug, load_method(slug).Settings.tiny())


def test_a_frozen_teacher_is_joined(tmp_path):
    views = wanted("plan-student")
    films = open_source("digits-av:A", {"video": views["video"]}, split="train")
    teacher = Table({"teacher": views["teacher"]}, list(films.ids))
    model = run("plan-student", JoinedSource("films+teacher", [films, teacher]), tmp_path / "run", steps=4)
    assert list(model.method.encoders) == ["video"]


def test_a_network_over_two_views_is_embedded_and_searched(tmp_path):
    source = Table(wanted("plan-joint"))
    model = run("plan-joint", source, tmp_path / "run", steps=40)
    features = extract(model, source, batch_size=20)
    assert set(features.values) == {"left", "right", "joint"}
    near = (features.values["left"] @ features.values["right"].T).argmax(1)
    assert float((source.labels[near] == source.labels).float().mean()) > 0.5
    masked = source.read(torch.arange(4), torch.arange(4))
    before = model.encode(masked)["joint"]
    for name, view in masked.views.items():  # what lies after the last step says nothing
        view[torch.arange(view.shape[1]) >= masked.length[name][:, None]] = 9.0
    torch.testing.assert_close(model.encode(masked)["joint"], before)


@pytest.mark.slow
def test_a_network_over_two_views_is_stored_searched_and_exported(tmp_path):
    source = Table(wanted("plan-joint"))
    model = run("plan-joint", source, tmp_path / "run")
    stored = store(model, source, tmp_path / "e", batch_size=20)
    assert set(stored.views) == {"left", "right", "joint"}
    hits = search(stored, "joint", stored_vector(stored, "joint", "r07"), k=3)
    assert hits[0].id == "r07" and hits[0].similarity == pytest.approx(1, abs=1e-5)
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    differences = export_onnx(model, tmp_path / "onnx")
    assert set(differences) == {"left", "right", "joint"} and max(differences.values()) < 1e-3
    about = json.loads((tmp_path / "onnx" / "preprocessing.json").read_text())
    assert set(about["joint"]["views"]) == {"left", "right"}
