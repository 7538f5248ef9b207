"""What an earlier version wrote is read on: tests/golden/run-of-1fdfb36, a run by coview of that commit."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from coview.cli.main import main
from coview.model import Model

OLD = Path(__file__).parents[1] / "golden" / "run-of-1fdfb36"


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_checkpoint_goes_on_as_it_did(tmp_path):
    """Stopped after step 3 of 6; the old version's own steps 4 to 6 are known."""
    run, known = tmp_path / "run", losses(OLD)
    shutil.copytree(OLD, run)
    shutil.rmtree(run / "model")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:3]))
    assert main(["pretrain", "dcca", "--resume", "-o", str(run)]) in (0, 3)
    assert losses(run) == pytest.approx(known, rel=1e-3)  # another processor rounds otherwise


def test_a_model_is_read_on():
    model = Model.from_run(OLD)
    assert set(model.views) == {"rotated", "noisy"}
    assert all(torch.isfinite(value).all() for value in model.method.state_dict().values())
