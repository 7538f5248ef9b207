import json
from pathlib import Path

import pytest
from measured import collection, tiny_model

from coview.cli.evaluate import PROTOCOLS
from coview.cli.main import main
from coview.data.collection import Collection, write_tables


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save(folder)
    return str(folder)


def evaluate(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, dict[str, float]]:
    assert main(["evaluate", *words, "--device", "cpu", "--json"]) == code
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_help_with_examples(protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", protocol, "--help"])
    assert stopped.value.code == 0
    assert f"coview evaluate {protocol} --" in capsys.readouterr().out


def test_protocols_are_listed_and_a_wrong_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {protocol}" in listed for protocol in PROTOCOLS)
    assert main(["evaluate", "linear-prob"]) == 2
    assert "did you mean 'linear-probe'" in capsys.readouterr().err
    assert main(["evaluate", "few-shot", "--model", "x", "--collection", str(collection())]) == 2


def test_stages_and_the_released_drift(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = evaluate(
        capsys, "linear-probe", "--model", model, "--collection", str(collection()), "--stages", "conv2:mean",
        "--as-released", "--name", "mine",
    )  # fmt: skip
    assert {"video_probe/mine", "audio_probe@conv2/mine", "video_probe_bn-adapt/mine"} <= set(rows)


def test_extrapolation(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--model", model, "--collection", str(collection()), "--windows"]
    rows = evaluate(capsys, "extrapolation", *place, "3")
    assert 0 <= rows["video_next_rank/xid"]["value"] <= 1 and rows["video_next_rank/xid"]["chance"] == 0.5
    assert main(["evaluate", "extrapolation", *place, "2"]) == 2
    assert "three cuts of each recording or more" in capsys.readouterr().err


def test_base_and_novel_classes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--model", model, "--collection", str(collection()), "--text", "audio", "--novel"]
    rows = evaluate(capsys, "base-novel", *place, "0", "1")
    assert {f"video_{what}/xid" for what in ("base", "novel", "hm", "hm_all")} <= set(rows)
    assert main(["evaluate", "base-novel", *place, "none"]) == 2
    assert "has no class 'none'" in capsys.readouterr().err


def test_few_labels_and_concepts(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--model", model, "--collection", str(collection())]
    rows = evaluate(capsys, "few-shot", *place, "--shots", "1", "--ratios", "0.5", "--draws", "2")
    assert {"video_few_k1/xid", "audio_few_r0.5/xid"} <= set(rows)
    written = sorted(path.name for path in (Path(model) / "evaluations" / "few-shot" / "xid-0").iterdir())
    assert written == [f"xid-{budget}-seed{seed}.json" for budget in ("k1", "r0.5") for seed in (0, 1)]
    rows = evaluate(capsys, "concepts", *place, "--seen", "0", "1", "2", "3", "4", "--shots", "1")
    assert {"video_seen_k1/xid", "audio_unseen_k1_corrected/xid"} <= set(rows)
    assert main(["evaluate", "concepts", *place, "--seen", "0", "1", "--shots", "1", "--ratio", "0.5"]) == 2
    assert "a ratio or a number of shots, one of them" in capsys.readouterr().err
    assert main(["evaluate", "concepts", *place]) == 2
    assert "--published, --seen and --pretraining" in capsys.readouterr().err
    assert main(["evaluate", "concepts", *place, "--published", "ucf101"]) == 2
    assert "classes are not the 101" in capsys.readouterr().err


def test_official_folds(model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import dataclasses

    whole = Collection.open(collection())
    turns = {"train": "test", "test": "train"}
    rows = [dataclasses.replace(r, folds=(r.split or "", turns.get(r.split or "", ""))) for r in whole]
    rows = [dataclasses.replace(r, path=str(whole.path(r).absolute())) for r in rows]
    write_tables(tmp_path, rows, [], {"source": "", "root": ".", "ignored": {}, "report": {}})
    place = ["--model", model, "--collection", str(tmp_path)]
    found = evaluate(capsys, "knn", *place, "--folds", "1", "2", code=3)  # test digits that no training clip shows
    names = {f"{view}_knn{fold}/xid" for view in ("video", "audio") for fold in ("", "@fold1", "@fold2")}
    assert set(found) == names
    mean = (found["video_knn@fold1/xid"]["value"] + found["video_knn@fold2/xid"]["value"]) / 2
    assert found["video_knn/xid"]["value"] == pytest.approx(mean)
    assert main(["evaluate", "knn", *place, "--folds", "3"]) == 2
    assert "has the folds 1 to 2" in capsys.readouterr().err


@pytest.mark.slow
def test_fine_tuning_and_the_ceiling(model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = ["--collection", str(collection()), "--workers", "0", "--preset", "digits", "--windows", "1"]
    small = ["--epochs", "1", "--train-batch", "4", "--clips", "1"]
    rows = evaluate(
        capsys, "fine-tune", "--model", model, *place, *small, "--warm-up-epochs", "1", "--view", "audio", "--shots",
        "1", "--controls",
    )  # fmt: skip
    assert {"audio_finetune_k1/xid", "audio_finetune_k1/random"} <= set(rows)
    stored = json.loads((Path(model) / "evaluations" / "fine-tune.json").read_text())
    assert stored["choices"]["xid"][0]["labels"]["budget"] == {"ratio": None, "shots": 1}
    rows = evaluate(capsys, "supervised", *place, *small, "--like", model, "-o", str(tmp_path / "ceiling"))
    assert set(rows) == {"supervised/supervised-av", "supervised_top5/supervised-av"}
    again = evaluate(capsys, "knn", "--model", str(tmp_path / "ceiling"), "--collection", str(collection()))
    assert "video_knn/supervised-av" in again
    assert main(["evaluate", "fine-tune", "--model", model, *place, "--epochs", "0"]) == 2


@pytest.mark.slow
def test_pictures_of_searches(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(
        capsys, "retrieval", "--model", model, "--collection", str(collection()), "--test-split", "train", "--grid"
    )
    assert (Path(model) / "evaluations" / "retrieval-video-to-audio.png").is_file()
