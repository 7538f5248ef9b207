"""Runs, checkpoints and models that were written before digests, idle steps and recipes are read on.

`tests/golden/before` was written by commit 1fdfb36: `coview pretrain dcca` on two files of features, 60 recordings,
6 steps, a checkpoint every 3; `embeddings.npz` is what its model made of them then.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import coview
from coview.data.open import open_source
from coview.embedding.extract import extract
from coview.errors import UsageError
from coview.training.loop import train
from coview.training.run import read_lines
from coview.training.settings import load_run

BEFORE = Path(__file__).parents[1] / "golden" / "before"


@pytest.fixture
def before(tmp_path, monkeypatch) -> Path:
    """A copy to work in; the collection's name is two files of the current folder."""
    shutil.copytree(BEFORE, tmp_path / "before")
    monkeypatch.chdir(tmp_path / "before")
    return tmp_path / "before"


def close(found: list[dict], wanted: list[dict]) -> None:
    assert len(found) == len(wanted)
    for line, other in zip(found, wanted, strict=True):
        assert line.keys() == other.keys()
        assert list(line.values()) == pytest.approx(list(other.values()), rel=1e-4)


def test_a_run_of_before_goes_on_from_its_checkpoint(before):
    wanted = read_lines(before / "run" / "metrics.jsonl")
    shutil.rmtree(before / "run" / "checkpoints" / "step-00000006")
    (before / "run" / "checkpoints" / "last").unlink()
    settings = load_run(before / "run" / "settings.yaml")
    with pytest.raises(UsageError, match="covered less: if you know that the collection is unchanged, write") as said:
        train(settings, before / "run", resume=True, quiet=True)
    now, then = re.findall(r"write (\w+) for (\w+) in", str(said.value))[0]
    state = before / "run" / "checkpoints" / "step-00000003" / "state.json"
    state.write_text(state.read_text().replace(then, now))
    train(settings, before / "run", resume=True, quiet=True)
    close(read_lines(before / "run" / "metrics.jsonl"), wanted)
    summary = json.loads((before / "run" / "summary.json").read_text())
    assert summary["steps"] == 6 and summary["idle_steps"] == 0 and summary["samples_per_step"] == 20


def test_settings_of_before_give_the_same_run(before):
    train(load_run(before / "run" / "settings.yaml"), before / "again", quiet=True)
    close(read_lines(before / "again" / "metrics.jsonl"), read_lines(before / "run" / "metrics.jsonl"))


def test_a_model_of_before_embeds_as_it_did(before):
    model = coview.load(before / "run")
    source = open_source("left=left.npy,right=right.npy", model.views)
    features = extract(model, source, space="projected", batch_size=60)
    with np.load(before / "embeddings.npz") as wanted:
        for view in ("left", "right"):
            np.testing.assert_allclose(features.values[view].numpy(), wanted[view], rtol=1e-4, atol=1e-5)


def test_weights_of_before_are_taken_over(before):
    settings = load_run(before / "run" / "settings.yaml")
    train(settings, before / "next", init_from=before / "run", quiet=True)
    first = read_lines(before / "next" / "metrics.jsonl")[0]["loss"]
    assert first < read_lines(before / "run" / "metrics.jsonl")[0]["loss"]
