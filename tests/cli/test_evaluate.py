import json
from pathlib import Path

import pytest
from measured import collection, tiny_model

from coview.cli.main import main


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folders = [tmp_path_factory.mktemp("model") for _ in range(2)]
    for seed, folder in enumerate(folders):
        tiny_model(seed).save(folder)
    return [str(folder) for folder in folders]


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, object], str]:
    assert main(["evaluate", *arguments, "--collection", str(collection()), "--device", "cpu", "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_rows_are_those_that_are_promised_and_are_kept(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = evaluate(capsys, "linear-probe", "--model", models[0], "--controls")
    rows = {row["name"]: row for row in result["results"]}
    whats = [f"{view}_probe{top}" for view in ("video", "audio") for top in ("", "_top5")]
    assert set(rows) == {f"{what}/{name}" for what in whats for name in ("xid", "random")}
    for name, row in rows.items():
        assert list(row) == ["name", "value", "low", "high", "chance", "n", "seeds"]
        assert row["low"] <= row["value"] <= row["high"]
        assert row["chance"] == pytest.approx(0.5 if "top5" in name else 0.1)
    stored = json.loads((Path(models[0]) / "evaluations" / "linear-probe.json").read_text())
    assert stored["results"] == result["results"]
    assert stored["choices"]["random"][0]["frozen"]["sha256_before"]
    assert "random weights" in result["notes"][0]


def test_several_models_and_controls_are_averaged(models: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    result, said = evaluate(capsys, "retrieval", "--model", *models, "--shuffled", models[1])
    rows = {row["name"]: row for row in result["results"]}
    assert rows["retrieval_v2a_r1/xid"]["seeds"] == 2
    assert rows["retrieval_v2a_r1/shuffled"]["seeds"] == 1
    assert rows["class_p1_v2a/shuffled"]["n"] == rows["class_p1_v2a/xid"]["n"]
    assert "left out" in said


def test_wrong_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["evaluate", "knn", "--collection", str(collection())]) == 2
    assert "pass --model" in capsys.readouterr().err
    assert main(["evaluate", "knn", "--model", str(tmp_path), "--collection", str(collection())]) == 2
    assert "expected a run with a model" in capsys.readouterr().err


@pytest.mark.slow
def test_gates_are_judged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("coview.evaluation.gates._CLIPS", {"digits-av": (200, 100)})
    assert main(["evaluate", "gates", "--collection", "digits-av:A", "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert {row["name"] for row in result["results"]} >= {"video_probe/statistics", "audio_probe/random"}
    judged = {gate["row"]: gate["passed"] for gate in result["gates"]}
    assert set(judged) == {f"{view}_probe/{what}" for view in ("video", "audio") for what in ("statistics", "random")}
    assert said.err.count("passes") + said.err.count("FAILS") == 4
    assert main(["evaluate", "gates", "--collection", str(tmp_path)]) == 2


def test_of_few_recordings_both_unseen_parts_are_measured(
    models: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    media = sorted((collection() / "media").glob("**/*.mp4"))[:12]
    (tmp_path / "clips.csv").write_text("path\n" + "\n".join(map(str, media)))
    assert main(["index", str(tmp_path / "clips.csv"), "-o", str(tmp_path / "few")]) == 0
    assert "parts: 8 train, 2 validation, 2 test; chosen once and evenly" in capsys.readouterr().out
    asked = ["evaluate", "retrieval", "--model", models[0], "--collection", str(tmp_path / "few")]
    assert main([*asked, "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    assert {row["n"] for row in both["results"]} == {4} and "both" in both["notes"][0]
    assert not any("@fold" in row["name"] for row in both["results"])
    assert main([*asked, "--json", "--folds", "2"]) == 0
    assert {row["n"] for row in json.loads(capsys.readouterr().out)["results"]} == {2}
    assert main([*asked, "--seed", "3"]) == 0
    said = capsys.readouterr()
    assert "cannot be told from chance (4 items)" in said.err
    assert f"Next: coview {' '.join(asked)} --seed 3 --controls" in said.err
    assert main(["evaluate", "knn", *asked[2:]]) == 3  # nothing has a label: nothing was measured
    assert "nothing could be measured" in capsys.readouterr().err
