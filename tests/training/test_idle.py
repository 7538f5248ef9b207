"""Steps without anything to learn from: refused, skipped, counted, said; and a run of nothing else is no success."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import tiny
import torch
import worlds

from coview.errors import CoviewError, DataProblemsError, SettingsError
from coview.training import checkpoint
from coview.training.harvest import Harvest
from coview.training.loop import train
from coview.training.run import read_lines


class Deaf(tiny.TinySource):
    """Only the first recordings have their right view."""

    def __init__(self, hearing: int) -> None:
        super().__init__()
        self.hearing = hearing

    def read(self, row, key):
        batch = super().read(row, key)
        batch.present = {"right": row < self.hearing}
        batch.whole = {"left"}
        return batch


def asked(least=2, decay=0.5, **train_settings):
    run = tiny.settings(**train_settings)
    return replace(
        run,
        method_settings=replace(run.method_settings, least=least),
        optimiser=replace(run.optimiser, weight_decay=decay),
    )


@pytest.mark.parametrize("parts", [{"batch_size": 1}, {"batch_size": 4, "accumulate": 4}])
def test_parts_in_which_nothing_can_be_learnt_are_refused(tmp_path, parts):
    with pytest.raises(SettingsError, match="1 at a time, and tiny learns from at least 2"):
        train(asked(**parts), tmp_path / "run", source=tiny.TinySource(), quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_run_of_idle_steps_is_no_success(tmp_path):
    with pytest.raises(DataProblemsError, match=r"none of the 5 steps .* no weight has moved: tiny needs 2 samples"):
        train(asked(epochs=9), tmp_path / "run", source=Deaf(1), quiet=True)
    with pytest.raises(DataProblemsError, match="none of the 2 steps"):  # shorter than an epoch
        train(asked(steps=2), tmp_path / "short", source=Deaf(1), quiet=True)
    assert not (tmp_path / "short" / "model").exists()


def test_what_a_step_needs_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny.TinyMethod, "labelled", True)
    monkeypatch.setattr(tiny.TinyMethod, "needs", lambda self, batch: ["right"])
    with pytest.raises(DataProblemsError, match="2 samples that have what a step needs of left, right and a label in"):
        train(asked(steps=1), tmp_path / "run", source=Deaf(1), quiet=True)


def test_idle_steps_move_nothing_and_are_counted(tmp_path, capsys):
    train(asked(epochs=6), tmp_path / "run", source=Deaf(6))
    log = read_lines(tmp_path / "run" / "metrics.jsonl")
    idle = [line["step"] for line in log if line["loss"] is None]
    assert 3 <= len(idle) < len(log) == 30
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["idle_steps"] == len(idle) and 2 <= summary["samples_per_step"] <= 6
    assert summary["loss"] == [line["loss"] for line in log if line["loss"] is not None][-1]
    assert f"{len(idle)} of 30 steps ({len(idle) / 30:.0%}) had nothing to learn from" in capsys.readouterr().err


def test_an_idle_step_leaves_weights_moments_and_slow_copies(tmp_path):
    longer = replace(asked(steps=4), schedule=replace(tiny.settings().schedule, kind="constant", warm_up=0.0))
    train(longer, tmp_path / "one", source=Deaf(40), quiet=True)
    before = checkpoint.load(tmp_path / "one" / "checkpoints" / "step-00000004")
    more = replace(longer, train=replace(longer.train, steps=12, checkpoint_every=1))
    train(more, tmp_path / "one", source=Deaf(1), quiet=True, resume=True)
    after = checkpoint.load(tmp_path / "one" / "checkpoints" / "step-00000012")
    assert all(torch.equal(after.model[name], value) for name, value in before.model.items())
    moments = before.optimiser["state"]
    for index, entry in after.optimiser["state"].items():
        assert all(torch.equal(value, moments[index][name]) for name, value in entry.items())


def test_parts_that_learn_share_the_step(tmp_path):
    """With one of two parts idle, the gradient is that of the other, not half of it."""
    one = asked(decay=0.0, batch_size=20, steps=1, accumulate=1)
    half = asked(decay=0.0, batch_size=40, steps=1, accumulate=2)

    class Half(tiny.TinySource):
        def read(self, row, key):
            row = torch.arange(len(row))
            batch = super().read(row, row)
            batch.present, batch.whole = {"right": row < 20}, {"left"}
            return batch

    for name, run in (("one", one), ("half", half)):
        settings = replace(run, method_settings=replace(run.method_settings, dropout=0.0))
        train(settings, tmp_path / name, source=Half(), quiet=True)
    losses = [read_lines(tmp_path / name / "metrics.jsonl")[0]["loss"] for name in ("one", "half")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    weights = [checkpoint.load(tmp_path / name / "checkpoints" / "step-00000001").optimiser for name in ("one", "half")]
    for index, entry in weights[0]["state"].items():
        torch.testing.assert_close(weights[1]["state"][index]["exp_avg"], entry["exp_avg"], rtol=1e-4, atol=1e-8)


def test_parts_with_embeddings_of_different_views_are_counted_together(tmp_path, monkeypatch):
    forward = tiny.TinyMethod.forward

    def turned(self, batch):
        step = forward(self, batch)
        name = ("left", "right")[self.turn % 2]
        self.turn += 1
        return replace(step, embeddings={name: step.embeddings[name]})

    monkeypatch.setattr(tiny.TinyMethod, "turn", 0, raising=False)
    monkeypatch.setattr(tiny.TinyMethod, "forward", turned)
    train(asked(batch_size=8, steps=2, accumulate=2), tmp_path / "run", source=tiny.TinySource(), quiet=True)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["samples_per_step"] == 8


def test_a_loss_that_never_moves_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(tiny.TinyMethod, "forward", lambda self, batch: replace(self.idle(), idle=False))
    with pytest.raises(CoviewError, match=r"exactly 0 in each of 20 steps, so nothing is learnt: 8\.0 samples"):
        train(asked(epochs=9), tmp_path / "run", source=tiny.TinySource(), quiet=True)
    with pytest.raises(CoviewError, match="exactly 0 in each of 4 steps"):
        train(asked(steps=4), tmp_path / "short", source=tiny.TinySource(), quiet=True)


def test_counts_survive_a_stop():
    counted = Harvest()
    for loss, used in ((1.0, 8), (None, 0), (1.0, 4)):
        counted.add(loss, used)
    again = Harvest(json.loads(json.dumps(counted.state())))
    assert again.samples_per_step() == 6 and again.sentence() == "1 of 3 steps (33%) had nothing to learn from"
    again.check(100, "", final=False)
    again.add(1.0, 8)
    with pytest.raises(CoviewError, match="in each of 3 steps"):
        again.check(100, "", final=True)
    again.add(1.5, 8)
    again.check(100, "", final=True)


def on_a_rank(out):
    tiny.register()
    torch.set_num_threads(1)
    run = asked(steps=12, watch_every=4)
    train(run, out, source=Deaf(4), quiet=True)
    return


@pytest.mark.slow
def test_two_processes_skip_the_same_steps(tmp_path):
    worlds.run(2, on_a_rank, tmp_path / "two")
    on_a_rank(tmp_path / "one")
    one, two = (read_lines(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [line["loss"] is None for line in one] == [line["loss"] is None for line in two]
    assert any(line["loss"] is None for line in one)
