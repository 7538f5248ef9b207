"""`coview stats` and what training, resuming and the model make of it."""

import json

import measured
import pytest
import torch

import coview
from coview.cli.pretrain import main as pretrain
from coview.cli.stats import main
from coview.errors import UsageError


def test_fitted_statistics_are_used_and_travel_with_run_and_model(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("coview.evaluation.report.write_report", lambda run, **shown: run / "report.html")
    file, run, clips = tmp_path / "statistics.json", tmp_path / "run", str(measured.collection())
    assert main([clips, "--method", "xid", "--tiny", "-o", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["audio"]["values"] == 40 and found["video"]["values"] == 3 and found["recordings"] > 10
    stored = json.loads(file.read_text())["views"]
    given = ["xid", "--collection", clips, "--tiny", "-o", str(run), "--stats", str(file), "--train.device", "cpu"]
    given += ["--train.batch-size", "8", "--train.workers", "0"]
    with pytest.raises(UsageError, match="no view would use it"):
        pretrain([*given, "--dry-run"])
    given += ["--method.audio.normalise", "statistics", "--train.steps", "2"]
    assert pretrain(given) == 0
    file.unlink()  # from here on the run has them
    assert pretrain(["xid", "-o", str(run), "--resume"]) == 0
    model = coview.load(run)
    kept = json.loads((run / "model" / "preprocessing.json").read_text())["statistics"]
    for kind in ("mean", "std"):
        expected = torch.tensor(stored["audio"][kind], dtype=torch.float64).float()
        assert torch.equal(getattr(model.preprocess, f"audio_{kind}"), expected)
        assert torch.equal(torch.tensor(kept["audio"][kind]), expected)
    assert "video" not in kept
