"""The loop: resume to the bit, refusals, stops, guards; all with a method and a source that it does not know."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from coview.errors import CoviewError, SettingsError, UsageError
from coview.model import Model
from coview.training import checkpoint, loop
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import ScheduleSettings


def run(out: Path, settings=None, **options) -> Path:
    return train(
        settings or tiny.settings(), out, source=options.pop("source", tiny.TinySource()), quiet=True, **options
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The uninterrupted run of 15 steps that others are compared with."""
    tiny.register()
    return run(tmp_path_factory.mktemp("whole") / "run")


class Stop(tiny.TinySource):
    """Sends a signal to this process while the batch of a step is read."""

    def __init__(self, step: int, signum: int) -> None:
        super().__init__()
        self.reads, self.step, self.signum = 0, step, signum

    def read(self, row, key):
        if self.reads == self.step:
            os.kill(os.getpid(), self.signum)
        self.reads += 1
        return super().read(row, key)


def test_the_run_folder(whole):
    log = read_lines(whole / "metrics.jsonl")
    assert [entry["step"] for entry in log] == list(range(1, 16))
    assert log[-1]["epoch"] == 2 and log[-1]["loss"] < log[0]["loss"]
    assert "std/left" in log[2] and "rank/right" in log[2] and "std/left" not in log[0]
    for name in ("settings.yaml", "environment.json", "timings.jsonl", "summary.json", "samples/left.png"):
        assert (whole / name).stat().st_size > 0, name
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["last", "step-00000012", "step-00000015"]
    settings = (whole / "settings.yaml").read_text()
    assert "name: tiny" in settings and "auto" not in settings and "steps: 15" in settings


def test_hooks_are_called_once_and_in_order(tmp_path):
    tiny.TinyMethod.calls.clear()
    run(tmp_path / "run")
    assert tiny.TinyMethod.calls == ["fit 40", "refresh 0", "refresh 1", "refresh 2"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_resumes_to_the_bit(tmp_path, whole, signum):
    code = {signal.SIGTERM: SystemExit, signal.SIGINT: KeyboardInterrupt}[signum]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(code) as stopped:
        # Reads 0 to 4 are those of fit_targets; the batch of step 7 is read while step 6 ends.
        run(tmp_path / "run", source=Stop(5 + 7, signum))
    if signum == signal.SIGTERM:
        assert stopped.value.code == 143
    assert len(read_lines(tmp_path / "run" / "metrics.jsonl")) == 7
    run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    last = checkpoint.load(tmp_path / "run" / "checkpoints" / "step-00000015")
    reference = checkpoint.load(whole / "checkpoints" / "step-00000015")
    assert all(torch.equal(last.model[name], value) for name, value in reference.model.items())
    assert signal.getsignal(signal.SIGTERM) == before


def test_lines_after_the_last_checkpoint_are_written_again(tmp_path, whole):
    run(tmp_path / "run")
    for name in ("step-00000015", "last"):
        path = tmp_path / "run" / "checkpoints" / name
        path.unlink() if path.is_file() else [file.unlink() for file in path.iterdir()] and path.rmdir()
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 16, "lo')  # half a line, as a kill leaves it
    run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resume_of_a_finished_run_changes_nothing(tmp_path, whole):
    run(tmp_path / "run")
    run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    run(tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_a_run_that_was_killed_at_its_very_first_file_goes_on(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".environment.json.4711.partial").write_text('{"vers')
    run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_full_folder_is_refused(tmp_path, whole):
    with pytest.raises(UsageError, match="--resume continues"):
        run(whole)
    (tmp_path / "thesis.txt").write_text("years of work")
    for options in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(UsageError, match="not a run"):
            run(tmp_path, **options)
    assert (tmp_path / "thesis.txt").exists()


def test_overwrite_starts_anew(tmp_path, whole):
    run(tmp_path / "run", tiny.settings(seed=4))
    run(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_changed_settings_are_refused_with_a_diff(whole):
    with pytest.raises(UsageError) as refused:
        run(whole, tiny.changed(tiny.settings(dropout=0.1), batch_size=4), resume=True)
    assert "train.batch_size: 8 -> 4" in str(refused.value) and "method.dropout: 0.3 -> 0.1" in str(refused.value)
    run(whole, tiny.changed(tiny.settings(), keep=1), resume=True)  # what changes no number may change


def longer(steps=15, **schedule):
    settings = tiny.settings(epochs=1, steps=steps)
    return replace(settings, schedule=ScheduleSettings(**{"kind": "constant", **schedule}))


def test_a_run_is_made_longer_where_that_is_well_defined(tmp_path):
    run(tmp_path / "all", longer(15))
    run(tmp_path / "some", longer(7))
    run(tmp_path / "some", longer(15), resume=True)
    assert len(read_lines(tmp_path / "some" / "metrics.jsonl")) == 15
    assert "steps: 15" in (tmp_path / "some" / "settings.yaml").read_text()
    for part in ("model.safetensors", "optimiser.safetensors"):
        made, asked = (tmp_path / name / "checkpoints" / "step-00000015" / part for name in ("some", "all"))
        assert made.read_bytes() == asked.read_bytes()
    with pytest.raises(UsageError, match="15 steps already, and 9 are asked for"):
        run(tmp_path / "some", longer(9), resume=True)


def test_why_a_run_cannot_be_made_longer_is_said(tmp_path, monkeypatch):
    run(tmp_path / "run", longer(5, kind="cosine"))
    with pytest.raises(UsageError, match=r"steps: 5 -> 9[\s\S]*rate follows the cosine schedule of 5 steps"):
        run(tmp_path / "run", longer(9, kind="cosine"), resume=True)
    run(tmp_path / "other", longer(5))
    monkeypatch.setattr(tiny.TinyMethod, "length_matters", True)
    with pytest.raises(UsageError, match="tiny moves with the planned epochs"):
        run(tmp_path / "other", longer(9), resume=True)


def test_another_collection_is_refused(whole):
    source = tiny.TinySource()
    source.fingerprint = "tiny-other"
    with pytest.raises(UsageError, match="fingerprint tiny-40"):
        run(whole, resume=True, source=source)


def test_all_problems_of_the_batch_size_at_once(tmp_path):
    with pytest.raises(SettingsError) as refused:
        run(tmp_path / "run", tiny.settings(batch_size=45, accumulate=2))
    assert len(refused.value.problems) == 2


def test_the_guard_names_rank_and_rows(tmp_path):
    with pytest.raises(CoviewError, match=r"step \d+: the loss is not finite: rank 0: loss nan, rows \[.*\b17\b.*\]"):
        run(tmp_path / "run", tiny.settings(poison=17))


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    def explode(self):
        if self.training:
            self.projectors["left"].weight.data.fill_(torch.inf)

    monkeypatch.setattr(tiny.TinyMethod, "after_step", explode)
    with pytest.raises(CoviewError, match="weights are no longer finite"):
        run(tmp_path / "run", tiny.settings(checkpoint_every=1))
    assert checkpoint.last(tmp_path / "run" / "checkpoints") is None


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, whole):
    real = checkpoint.write_tensors

    def full(tensors, path):
        if "step-00000008" in str(path) and "optimiser" in path.name:
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    with pytest.raises(CoviewError, match=r"No space left on device.*--resume"):
        run(tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == ["last", "step-00000004"]
    monkeypatch.setattr(checkpoint, "write_tensors", real)
    run(tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_accumulation_equals_the_whole_batch_when_samples_are_independent(tmp_path):
    one = read_lines(run(tmp_path / "one", tiny.settings(dropout=0.0)) / "metrics.jsonl")
    four = read_lines(run(tmp_path / "four", tiny.settings(dropout=0.0, accumulate=4)) / "metrics.jsonl")
    assert [entry["loss"] for entry in four] == pytest.approx([entry["loss"] for entry in one], rel=1e-4)


def test_init_from_takes_weights_only(tmp_path, whole):
    run(tmp_path / "run", tiny.settings(steps=1), init_from=whole)
    first = read_lines(tmp_path / "run" / "metrics.jsonl")[0]
    assert first["step"] == 1 and first["loss"] < 0.9 * read_lines(whole / "metrics.jsonl")[0]["loss"]
    with pytest.raises(UsageError, match=r"expected a run or a model"):
        run(tmp_path / "other", init_from=tmp_path)


def test_weights_that_are_not_finite_are_not_taken_over(tmp_path, whole):
    shutil.copytree(whole / "model", tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    weights = load_file(path)
    weights["projectors.left.weight"][0, 0] = torch.nan
    save_file(weights, path)
    config = tmp_path / "model" / "config.json"
    stated = json.loads(config.read_text())
    config.write_text(json.dumps({name: value for name, value in stated.items() if name != "sha256"}))
    with pytest.raises(UsageError, match=r"weights are not finite \(projectors.left.weight\)"):
        run(tmp_path / "run", init_from=tmp_path / "model")
    config.write_text(json.dumps({**stated, "sha256": "0" * 64}))
    with pytest.raises(UsageError, match="damaged or exchanged"):
        run(tmp_path / "run", init_from=tmp_path / "model", resume=True)


def test_init_from_refuses_encoders_of_another_shape(tmp_path, whole):
    import dataclasses

    wider = dataclasses.replace(tiny.settings(), method_settings=tiny.TinySettings(width=9))
    with pytest.raises(UsageError, match=r"\(6, 192\) there and \(9, 192\) here"):
        run(tmp_path / "run", wider, init_from=whole)


def test_knn_is_watched_when_asked(tmp_path):
    log = read_lines(run(tmp_path / "run", tiny.settings(knn_every=3)) / "metrics.jsonl")
    assert 0 <= log[-1]["knn/left"] <= 1 and [entry["step"] for entry in log if "knn/left" in entry] == [15]


def test_a_kill_between_the_last_checkpoint_and_its_model_loses_no_model(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    run(tmp_path / "run", resume=True)
    assert Model.from_run(tmp_path / "run").digest == Model.from_run(whole).digest


def test_every_step_is_told_to_whoever_asks(tmp_path):
    told = []
    folder = run(tmp_path / "run", tiny.settings(steps=3), after_step=lambda step, line: told.append((step, line)))
    log = read_lines(folder / "metrics.jsonl")
    assert [(step, line["loss"]) for step, line in told] == [(entry["step"], entry["loss"]) for entry in log]


DRIVER = """
import sys
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
import tiny
tiny.register()
from pathlib import Path
from coview.training.loop import train
settings = tiny.settings(dropout=0.0, epochs={epochs}, batch_size={batch}, checkpoint_every={every}, watch_every=5)
class Slow(tiny.TinySource):
    def read(self, row, key):
        import time
        time.sleep({sleep})
        return super().read(row, key)
train(settings, Path({out!r}), resume={resume}, source=Slow(), quiet=True)
"""


def driver(folder: Path, name: str, *, epochs=3, batch=8, every=4, resume=False, sleep=0.0) -> Path:
    path = folder / f"{name}.py"
    here, out = str(Path(__file__).parent), str(folder / name)
    path.write_text(DRIVER.format(**{**locals(), "here": here, "out": out}))
    return path


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_resume_across_numbers(tmp_path):
    def start(script: Path, processes: int) -> subprocess.CompletedProcess:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return subprocess.run([*launch, str(script)], capture_output=True, text=True, timeout=240)

    ones = driver(tmp_path, "one")
    assert subprocess.run([sys.executable, str(ones)], timeout=120).returncode == 0
    assert start(driver(tmp_path, "two"), 2).returncode == 0
    one, two = (read_lines(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [entry["loss"] for entry in two] == pytest.approx([entry["loss"] for entry in one], rel=1e-4)
    assert [entry["rank/left"] for entry in two if "rank/left" in entry] == pytest.approx(
        [entry["rank/left"] for entry in one if "rank/left" in entry], rel=1e-3
    )
    for name in ("step-00000015", "last"):  # as if stopped after step 12
        path = tmp_path / "two" / "checkpoints" / name
        path.unlink() if path.is_file() else [file.unlink() for file in path.iterdir()] and path.rmdir()
    script = driver(tmp_path, "two", resume=True)
    assert subprocess.run([sys.executable, str(script)], timeout=120).returncode == 0
    resumed = read_lines(tmp_path / "two" / "metrics.jsonl")
    assert [entry["loss"] for entry in resumed] == pytest.approx([entry["loss"] for entry in one], rel=1e-4)
    refused = start(script, 3)
    assert refused.returncode != 0 and "cannot be cut evenly into 3 processes" in refused.stderr


@pytest.mark.slow
def test_kill_at_five_moments_resumes_to_the_bit(tmp_path):
    import random
    import time

    assert subprocess.run([sys.executable, str(driver(tmp_path, "whole", epochs=60))], timeout=240).returncode == 0
    script = driver(tmp_path, "killed", epochs=60, every=7, resume=True, sleep=0.02)
    moments = random.Random(5)
    log = tmp_path / "killed" / "metrics.jsonl"
    for kill in range(5):
        process = subprocess.Popen([sys.executable, str(script)])
        wanted = kill * 50 + moments.randrange(10, 50)
        while process.poll() is None and (not log.exists() or len(log.read_bytes().splitlines()) < wanted):
            time.sleep(0.005)
        time.sleep(moments.random() * 0.05)
        assert process.poll() is None
        process.kill()
        process.wait()
    assert subprocess.run([sys.executable, str(script)], timeout=240).returncode == 0
    whole = tmp_path / "whole" / "metrics.jsonl"
    assert log.read_bytes() == whole.read_bytes()
    assert json.loads(whole.read_text().splitlines()[-1])["step"] == 300


def test_what_is_steady_keeps_the_peak_of_the_rate(tmp_path, monkeypatch):
    rates, learn = [], loop.learn

    def watched(parts, batch):
        rates.append({group["steady"]: group["lr"] for group in parts.optimiser.param_groups})
        return learn(parts, batch)

    monkeypatch.setattr(loop, "learn", watched)
    monkeypatch.setattr(tiny.TinyMethod, "steady", lambda self, name: name.startswith("projectors."))
    run(tmp_path / "run")
    assert {each[True] for each in rates} == {0.01}
    assert len({each[False] for each in rates}) > 5 and min(each[False] for each in rates) < 1e-3
