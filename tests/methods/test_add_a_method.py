"""The page docs/add-a-method.md is true: its file and its line make a method that the whole library knows."""

import dataclasses
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.nn.parallel import DistributedDataParallel

from coview import batchnorm, parallel
from coview.cli.main import main
from coview.data.views import read_view
from coview.embedding.extract import extract
from coview.encoders import AUDIO
from coview.methods import METHODS, build, load_method
from coview.methods.contract import Facts
from coview.model import Model
from coview.training.loop import train
from coview.training.settings import RunSettings, TrainSettings

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"
FACTS = Facts(rows=40)


def install(folder: str) -> None:
    """Make the page's module importable and its line known, as the page says."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    METHODS["barlow-av"] = "barlow_av:BarlowAV"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    text = PAGE.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    assert '"barlow-av": "coview.methods.barlow_av:BarlowAV",' in text
    place = tmp_path_factory.mktemp("package")
    (place / "barlow_av.py").write_text(code[1], encoding="utf-8")
    install(str(place))
    yield str(place)
    sys.path.remove(str(place))
    del METHODS["barlow-av"]


def on_a_rank(folder: str):
    install(folder)
    torch.manual_seed(0)
    method = build("barlow-av", load_method("barlow-av").Settings.tiny(), FACTS).double()
    batch = method.example_batch(8, 0)
    batch.views = {name: view.double() for name, view in batch.views.items()}
    world, inner = parallel.world_size(), method
    if world > 1:
        method = DistributedDataParallel(batchnorm.synchronise(method), broadcast_buffers=False)
        share = len(batch) // world
        batch = batch.select(slice(parallel.rank() * share, (parallel.rank() + 1) * share))
    step = method(batch)
    step.loss.backward()
    return step.loss.detach(), {name: parameter.grad for name, parameter in inner.named_parameters()}


@pytest.mark.slow
def test_two_and_four_processes_are_one(folder):
    expected = on_a_rank(folder)
    for world in (2, 4):
        for result in worlds.run(world, on_a_rank, folder):
            torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-8)


def test_the_objective_of_views_that_agree(folder):
    from barlow_av import barlow_twins

    x = torch.linalg.qr(torch.randn(64, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    x = torch.linalg.qr(x - x.mean(0))[0]  # centred and uncorrelated: the correlations are the identity
    assert barlow_twins(x, x, 0.1) == pytest.approx(0, abs=1e-6)
    assert barlow_twins(x, -x, 0.1) == pytest.approx(4 * 8, rel=1e-6)
    assert barlow_twins(3 * x + 1, x, 0.1) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_it_trains_and_is_measured_from_the_command_line(folder, tmp_path, capsys):
    words = ["--collection", "digits-av:A", "--tiny", "--train.steps", "4", "--train.batch-size", "16"]
    assert main(["pretrain", "barlow-av", *words, "-o", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["evaluate", "knn", "--model", str(tmp_path / "run"), "--collection", "digits-av:A", "--json"]) == 0
    assert "video_knn/barlow-av" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["pretrain", "barlow-av", "--help"])
    assert "redundancy" in capsys.readouterr().out


def piece(heading: str) -> dict:
    """Run the code under a heading of the page; returns its names."""
    part = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    code = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    assert code
    names = {"__name__": f"page_{heading.replace(' ', '_')}"}
    module = types.ModuleType(names["__name__"])
    sys.modules[names["__name__"]] = module
    exec(compile("\n".join(code), str(PAGE), "exec"), module.__dict__)
    return module.__dict__


def test_a_view_of_your_own(tmp_path):
    kind = piece("A view of your own")["ActionsView"]
    view = read_view({"stream": "actions", "steps": 6, "dim": 2})
    assert view == kind(steps=6, dim=2) and view.shape == (6, 2)
    np.save(tmp_path / "actions.npy", np.ones((4, 2), np.float32))
    value, length = view.load(None, tmp_path / "actions.npy", 0.0, 0.0)
    assert value.shape == (6, 2) and length == 4 and value.sum() == 8


def test_a_source_of_your_own(tmp_path):
    source = piece("A source of your own")["Table"]()
    own = dataclasses.replace(load_method("dcca").Settings.tiny(), views=source.views)
    steps = TrainSettings(steps=3, batch_size=20, device="cpu", workers=0)
    run = RunSettings(method="dcca", method_settings=own, collection="table", train=steps)
    model = Model.from_run(train(run, tmp_path / "run", source=source, quiet=True))
    assert extract(model, source).values["left"].shape == (40, 2)


def test_an_encoder_of_your_own(monkeypatch):
    names = piece("An encoder of your own")
    kind = names["Strip"]
    point = types.SimpleNamespace(name="strip", load=lambda: kind)
    wanted = "coview.encoders.audio"
    monkeypatch.setattr("coview.encoders.entry_points", lambda group: [point] if group == wanted else [])
    settings = dataclasses.replace(load_method("xid").Settings.tiny(), audio_encoder="strip")
    method = build("xid", settings, FACTS)
    assert isinstance(method.encoders["audio"], kind) and torch.isfinite(method(method.example_batch(4, 0)).loss)
    monkeypatch.setitem(AUDIO, "plain", names["plain"])
    method = build("xid", dataclasses.replace(settings, audio_encoder="plain"), FACTS)
    assert method.encoders["audio"].dim == 8 and torch.isfinite(method(method.example_batch(4, 0)).loss)


def test_a_frozen_teacher():
    kind = piece("A frozen teacher")["Student"]
    method = kind(kind.Settings.tiny(), FACTS)
    before = float(method(method.example_batch(8, 0)).loss.detach())
    optimiser = torch.optim.Adam(method.parameters(), 1e-2)
    for _ in range(10):
        optimiser.zero_grad()
        method(method.example_batch(8, 0)).loss.backward()
        optimiser.step()
    assert float(method(method.example_batch(8, 0)).loss.detach()) < before - 0.1
