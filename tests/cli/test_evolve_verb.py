"""`coview evolve` from end to end, with runs of a few steps."""

import json

import pytest

from coview.cli.main import main

WORDS = [
    "evolve", "elo", "--collection", "digits-av:A", "--tiny", "--strategy", "tournament", "--population", "2",
    "--evaluations", "2", "--clusters", "10", "--workers", "0", "--over", "method.weights.reconstruct/audio",
    "method.weights.order/video", "--set", "train.steps=2", "method.others=0",
]  # fmt: skip


@pytest.mark.slow
def test_a_search_of_two_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "-o", "evolved", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == 3 and found["best"]["unfit"] <= found["equal"]["unfit"] and 0 < found["best"]["purity"] <= 1
    assert {"evolve.json", "evolve.md", "best.yaml", "plan.yaml", "runs"} <= {
        path.name for path in (tmp_path / "evolved").iterdir()
    }
    assert not list((tmp_path / "evolved").glob("runs/*/run/checkpoints"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "evolved").glob("runs/*/fitness.json")}
    assert main([*WORDS, "-o", "evolved", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert before == {path: path.stat().st_mtime_ns for path in before}
    words = ["pretrain", "elo", "--settings", "evolved/best.yaml", "-o", "run", "--train.steps", "2", "--dry-run"]
    assert main(words) == 0


def test_a_method_that_names_nothing_needs_over(tmp_path):
    assert main(["evolve", "xid", "--collection", "digits-av:A", "--tiny", "-o", str(tmp_path / "out")]) == 2
