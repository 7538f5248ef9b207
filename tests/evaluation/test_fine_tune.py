import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import worlds
from measured import collection, tiny_model

from coview.data.augment import PRESETS, AugmentSettings
from coview.data.part import Part
from coview.data.preprocess import Preprocess
from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError
from coview.evaluation.bench import Result
from coview.evaluation.few_shot import Budget, draw
from coview.evaluation.fine_tune import FineTune, fine_tune, views_of
from coview.files import read_tensors
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.xid import XIDSettings
from coview.model import Model

HOW = FineTune(
    epochs=2, warm_up_epochs=1, batch_size=8, clips_per_recording=1, windows=1, lr=1e-2, dropout=0.2,
    augment=PRESETS["digits"], workers=0, view="audio",
)  # fmt: skip


def tune(out: Path, how: FineTune = HOW, model: Model | None = None) -> Result:
    torch.set_num_threads(1)
    model = model or tiny_model()
    views = views_of(model, how)
    train, test = (DigitsWorld("A", split, count, 0, views) for split, count in (("train", 24), ("test", 13)))
    return fine_tune(model, train, test, out, how, name="xid")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("tuned")
    return out, tune(out)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "model" / "model.safetensors")


def test_figures_choices_and_the_model_that_stays(done: tuple[Path, Result]) -> None:
    out, result = done
    assert [m.name for m in result.results] == ["audio_finetune/xid", "audio_finetune_top5/xid"]
    assert result.results[0].n == 13
    choices = result.choices["audio_finetune"]
    assert choices["start"] == tiny_model().digest  # the model itself was not trained
    assert choices["epochs"] == 2
    assert "chose nothing" in choices["weights"]
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    tuned = Model.from_run(out / "run")
    assert tuned.dim == {"audio": 10}  # its projected space holds the class scores


def test_warm_up_trains_the_linear_layer_alone_and_then_everything(done: tuple[Path, Result]) -> None:
    out, _ = done
    start = read_tensors(out / "start" / "model.safetensors")
    warm, end = weights(out / "warm-up"), weights(out / "run")
    for name, value in start.items():
        if name.startswith("encoders."):  # running statistics too
            assert torch.equal(warm[name], value)
    heads = [name for name in start if name.startswith("projectors.")]
    assert heads
    assert not any(torch.equal(warm[name], start[name]) for name in heads)
    assert not torch.equal(end["encoders.audio.conv1.0.weight"], start["encoders.audio.conv1.0.weight"])


def test_a_finished_call_is_read_and_other_settings_are_refused(done: tuple[Path, Result]) -> None:
    out, result = done
    before = weights(out / "run")
    assert tune(out).to_dict() == result.to_dict()
    assert all(torch.equal(value, before[name]) for name, value in weights(out / "run").items())
    with pytest.raises(UsageError, match=r"optimiser.lr: 0.01 -> 0.02"):
        tune(out, replace(HOW, lr=2e-2))


def test_a_frozen_encoder_is_a_linear_probe(tmp_path: Path) -> None:
    result = tune(tmp_path, replace(HOW, frozen=True))
    assert result.results[0].name == "audio_linear/xid"
    start, end = read_tensors(tmp_path / "start" / "model.safetensors"), weights(tmp_path / "run")
    assert all(torch.equal(end[name], value) for name, value in start.items() if name.startswith("encoders."))


def test_few_labels_are_all_that_is_learnt_from(tmp_path: Path) -> None:
    model = tiny_model()
    views = views_of(model, HOW)
    train, test = (DigitsWorld("A", split, 40, 0, views) for split in ("train", "test"))
    part = Part(train, draw(train, Budget(shots=1), 0))
    result = fine_tune(model, part, test, tmp_path, HOW, name="xid", what="audio_finetune_k1")
    assert result.results[0].name == "audio_finetune_k1/xid"
    facts = json.loads((next((tmp_path / "run" / "checkpoints").glob("step-*")) / "state.json").read_text())
    present = int((torch.bincount(train.labels, minlength=10) > 0).sum())
    assert facts["collection"]["rows"] == len(part) == present


def test_sound_is_normalised_as_in_pretraining(tmp_path: Path) -> None:
    settings = replace(XIDSettings.tiny(), audio=replace(XIDSettings.tiny().audio, normalise="statistics"))
    method = build("xid", settings, Facts(rows=16, classes=10))
    model = Model.of(method, Preprocess(method.views, AugmentSettings()), DigitsWorld("A", "train", 16))
    model.preprocess.get_buffer("audio_mean").fill_(-3.5)
    tune(tmp_path, replace(HOW, epochs=1), model)
    assert bool((Model.from_run(tmp_path / "run").preprocess.get_buffer("audio_mean") == -3.5).all())


def test_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no view 'picture'"):
        tune(tmp_path, replace(HOW, view="picture"))
    with pytest.raises(ValueError, match="epochs >= 1"):
        FineTune(epochs=0)


def _tuned_figures(out: Path) -> list[float]:
    return [m.value for m in tune(out).results]


@pytest.mark.slow
def test_two_processes_fine_tune_as_one(done: tuple[Path, Result], tmp_path: Path) -> None:
    found = worlds.run(2, _tuned_figures, tmp_path)
    assert found[0] == found[1]
    for stage in ("warm-up", "run"):  # Adam turns a rounded zero gradient into a step, so weights are not compared
        losses = [
            [json.loads(line)["loss"] for line in (folder / stage / "metrics.jsonl").read_text().splitlines()]
            for folder in (done[0], tmp_path)
        ]
        assert losses[1] == pytest.approx(losses[0], rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--warm-up-epochs", "1"], ["--frozen"]])
def test_a_killed_fine_tuning_goes_on_to_the_same_numbers(words: list[str], tmp_path: Path) -> None:
    tiny_model().save(tmp_path / "model")
    fixed = ["--clips", "2", "--train-batch", "8", "--view", "audio", "--workers", "0", "--windows", "1", "--json"]
    base = [sys.executable, "-m", "coview", "evaluate", "fine-tune", *words, "--model", str(tmp_path / "model")]
    base += ["--collection", str(collection()), "--device", "cpu", *fixed, "--epochs", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = subprocess.run([*base, "--out", str(tmp_path / "whole")], env=env, capture_output=True, check=True)
    process = subprocess.Popen([*base, "--out", str(tmp_path / "part")], env=env, stdout=subprocess.DEVNULL)
    started = time.monotonic()
    while not list((tmp_path / "part").glob("*/*/checkpoints/last")) and time.monotonic() - started < 120:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run([*base, "--out", str(tmp_path / "part")], env=env, capture_output=True)
    assert again.returncode == 0, again.stderr.decode()
    assert json.loads(again.stdout)["results"] == json.loads(whole.stdout)["results"]
