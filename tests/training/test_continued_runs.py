"""CMA continued from AVID through the loop: weights taken over, memories filled, positives mined between epochs."""

import json

import torch

from coview.data.synthetic import parse_world
from coview.methods.avid import AVIDSettings
from coview.methods.cma import CMASettings
from coview.training import checkpoint
from coview.training.loop import train
from coview.training.settings import RunSettings, TrainSettings


def run(method, settings, out, steps, **options):
    world = parse_world("digits-av:A", "train", 24, seed=0)
    run = RunSettings(
        method=method,
        method_settings=settings,
        collection="digits-av:A",
        train=TrainSettings(steps=steps, batch_size=8, workers=0, device="cpu", checkpoint_every=3),
    )
    train(run, out, source=world, quiet=True, **options)
    return checkpoint.load(checkpoint.last(out / "checkpoints")).model


def test_cma_starts_from_avid_and_mines_between_epochs(tmp_path):
    before = run("avid", AVIDSettings.tiny(), tmp_path / "avid", 3)
    settings = CMASettings(**{**vars(AVIDSettings.tiny()), "positives": 4, "mine_every": 1})
    first = run("cma", settings, tmp_path / "cma-1", 3, init_from=tmp_path / "avid")
    both = run("cma", settings, tmp_path / "cma-2", 6, init_from=tmp_path / "avid")
    assert first["method.z"] > 0
    assert torch.equal(first["method.z"], both["method.z"])
    table = first["method.positives"]
    assert table.min() >= 0
    assert (table != torch.arange(24)[:, None]).all()
    assert not torch.equal(table, both["method.positives"])  # mined again before the second epoch
    assert set(before) < set(first)
    lines = (tmp_path / "cma-1" / "metrics.jsonl").read_text().splitlines()
    assert {"inst-v2a", "inst-a2v", "pos-v2v", "pos-a2a", "z"} <= set(json.loads(lines[0]))
