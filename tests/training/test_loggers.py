"""Loggers get what metrics.jsonl has, go on in the same run after a crash, and send nothing unasked."""

import importlib
import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest
import tiny

from coview.errors import CoviewError, UsageError
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import run_from_dict, run_to_dict


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    tiny.register()
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_")):
            monkeypatch.delenv(name)
    for name in ("wandb", "mlflow"):  # imported anew, with whatever package the test sees
        monkeypatch.delitem(sys.modules, f"coview.training.loggers.{name}", raising=False)


def crash(step, line):
    if step == 6:
        raise RuntimeError("two steps behind the checkpoint")


def crashed_and_resumed(out, name):
    """Return a run's losses by step: it crashes in step 6, is resumed from the checkpoint of step 4, and ends."""
    settings = tiny.settings(loggers=(name,), epochs=2)
    with pytest.raises(RuntimeError):
        train(settings, out, source=tiny.TinySource(), after_step=crash, quiet=True)
    train(settings, out, source=tiny.TinySource(), resume=True, quiet=True)
    losses = {entry["step"]: entry["loss"] for entry in read_lines(out / "metrics.jsonl")}
    assert list(losses) == list(range(1, 11))
    return losses


def stand_in_wandb(monkeypatch):
    """Return what is asked of a module that stands in for W&B."""
    asked, told, ended = [], [], []

    class Run:
        def log(self, values, step):
            told.append((step, values["loss"]))

        def finish(self, exit_code):
            ended.append(exit_code)

    def init(**how):
        asked.append(how)
        return Run()

    module = types.ModuleType("wandb")
    module.init, module.Settings = init, lambda **how: how
    monkeypatch.setitem(sys.modules, "wandb", module)
    return asked, told, ended


def test_wandb_is_offline_and_goes_on_with_its_run(tmp_path, monkeypatch):
    asked, told, ended = stand_in_wandb(monkeypatch)
    losses = crashed_and_resumed(tmp_path / "run", "wandb")
    assert dict(told) == losses
    assert all(losses[step] == loss for step, loss in told)  # steps 5 and 6 are told twice, alike
    assert ended == [1, 0]
    first, second = asked
    assert first["mode"] == "offline" and Path(first["dir"]) == tmp_path / "run"
    assert first["id"] == second["id"] and second["resume"] == "allow"
    assert first["config"]["train"]["batch_size"] == 8


def test_mlflow_keeps_its_numbers_in_the_run(tmp_path, monkeypatch):
    runs, asked = {}, []

    class Client:
        def __init__(self, place):
            asked.append(place)

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return "1"

        def create_run(self, experiment, run_name):
            name = f"run-{len(runs)}"
            runs[name] = {"metrics": [], "params": {}, "status": []}
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=name))

        def update_run(self, name, status):
            runs[name]["status"].append(status)

        def get_metric_history(self, name, metric):
            return [entry for entry in runs[name]["metrics"] if entry.key == metric]

        def log_batch(self, name, metrics=(), params=()):
            assert len(params) <= 100
            runs[name]["metrics"] += metrics
            runs[name]["params"] |= {entry.key: entry.value for entry in params}

        def set_terminated(self, name, status):
            runs[name]["status"].append(status)

    module, entities = types.ModuleType("mlflow"), types.ModuleType("mlflow.entities")
    module.MlflowClient = Client
    entities.Metric = lambda key, value, now, step: types.SimpleNamespace(key=key, value=value, step=step)
    entities.Param = lambda key, value: types.SimpleNamespace(key=key, value=value)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    losses = crashed_and_resumed(tmp_path / "run", "mlflow")
    (run,) = runs.values()
    assert [(entry.step, entry.value) for entry in run["metrics"] if entry.key == "loss"] == list(losses.items())
    assert run["status"] == ["RUNNING", "FAILED", "RUNNING", "FINISHED"]
    assert run["params"]["train.batch_size"] == "8" and run["params"]["method.name"] == "tiny"
    assert (os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("10", "1")
    assert set(asked) == {f"sqlite:///{tmp_path / 'run' / 'mlflow' / 'mlflow.db'}"}


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_told_with_its_extra_before_anything_is_written(tmp_path, monkeypatch, name):
    monkeypatch.delitem(sys.modules, f"coview.training.loggers.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard" if name == "tensorboard" else name, None)
    with pytest.raises(UsageError, match=rf'pip install "coview\[{name}\]"'):
        train(tiny.settings(loggers=(name,), steps=1), tmp_path / "run", source=tiny.TinySource(), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_logger_that_fails_is_named_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    stand_in_wandb(monkeypatch)
    kind = importlib.import_module("coview.training.loggers.wandb").WandbLogger

    def full(self, step, values):
        raise OSError("no room")

    monkeypatch.setattr(kind, "write", full)
    out = train(tiny.settings(loggers=("wandb",), steps=3), tmp_path / "run", source=tiny.TinySource())
    assert len(read_lines(out / "metrics.jsonl")) == 3
    assert capsys.readouterr().err.count("wandb failed and gets no more numbers (no room)") == 1


def test_a_logger_that_cannot_begin_is_an_error(tmp_path, monkeypatch):
    stand_in_wandb(monkeypatch)
    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **how: 1 / 0)
    with pytest.raises(CoviewError, match=r"wandb cannot begin \(division by zero\)"):
        train(tiny.settings(loggers=("wandb",), steps=1), tmp_path / "run", source=tiny.TinySource(), quiet=True)


@pytest.mark.parametrize("was, now", [(True, ("tensorboard",)), (False, ())])
def test_settings_of_before_are_read_on(was, now):
    plain = run_to_dict(tiny.settings())
    del plain["train"]["loggers"]
    plain["train"]["tensorboard"] = was
    assert run_from_dict(plain).train.loggers == now


def needs(package):
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed (an extra)")


@needs("tensorboard")
def test_tensorboard_itself(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses = crashed_and_resumed(tmp_path / "run", "tensorboard")
    kept = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Scalars("loss")
    assert [entry.step for entry in kept] == list(losses)
    assert [entry.value for entry in kept] == pytest.approx(list(losses.values()), rel=1e-6)  # float32


@needs("tensorboard")
def test_what_was_told_before_the_first_checkpoint_is_shown_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = tiny.settings(loggers=("tensorboard",), epochs=1)

    def killed(step, line):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        train(settings, tmp_path / "run", source=tiny.TinySource(), after_step=killed, quiet=True)
    train(settings, tmp_path / "run", source=tiny.TinySource(), resume=True, quiet=True)
    kept = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Scalars("loss")
    assert [entry.step for entry in kept] == [1, 2, 3, 4, 5]


def records(path):
    """Yield the records of W&B's file: a header of 7 bytes, then LevelDB's log format in blocks of 32 KiB."""
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # the rest of a block that holds no header
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield whole
            whole = b""


@pytest.mark.slow
@needs("wandb")
def test_wandb_itself(tmp_path, monkeypatch):
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.chdir(tmp_path)
    losses = crashed_and_resumed(tmp_path / "run", "wandb")
    told, ids = [], set()
    for path in sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")):
        for data in records(path):
            record = Record.FromString(data)
            if record.HasField("run"):
                ids.add(record.run.run_id)
            if record.HasField("history"):
                row = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
                told.append((int(row["_step"]), float(row["loss"])))
    assert len(ids) == 1
    assert len(told) == 12 and dict(told) == losses and all(losses[step] == loss for step, loss in told)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_itself(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    losses = crashed_and_resumed(tmp_path / "run", "mlflow")
    client = MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("coview").experiment_id])
    kept = client.get_metric_history(run.info.run_id, "loss")
    assert [(entry.step, entry.value) for entry in kept] == list(losses.items())
    assert run.info.status == "FINISHED" and run.data.params["train.batch_size"] == "8"
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
