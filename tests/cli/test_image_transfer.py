"""`coview evaluate image-transfer`: its tasks by name, and one of them from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coview.cli.evaluate.image_transfer import TASKS
from coview.cli.main import main
from coview.data.synthetic.shapes import ShapesWorld
from coview.data.synthetic.voc_layout import write_voc


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_help_with_examples(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "image-transfer", "--task", task, "--help"])
    assert stopped.value.code == 0
    assert f"coview evaluate image-transfer --task {task} --" in capsys.readouterr().out


def test_tasks_are_listed_and_a_wrong_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "image-transfer", "--model", "x"])
    assert stopped.value.code == 2
    assert all(f"  {task}" in capsys.readouterr().err for task in list(TASKS)[:1])
    assert main(["evaluate", "image-transfer", "--task=strategie", "--model", "x"]) == 2
    assert "did you mean 'strategies'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return a run of two steps, and a collection of 60 small pictures of three colours."""
    folder = tmp_path_factory.mktemp("pictures")
    draw, rows = np.random.default_rng(0), ["path,label,split"]
    for number in range(60):
        label = ("red", "green", "blue")[number % 3]
        grey = draw.integers(0, 120, (40, 40, 3), dtype=np.uint8)
        grey[8:30, 8:30, number % 3] = 250
        Image.fromarray(grey).save(folder / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{label},{'test' if number >= 42 else 'train'}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    assert main(["index", str(folder / "list.csv"), "-o", str(folder / "collection"), "--workers", "0"]) == 0
    small = ["--train.steps", "2", "--train.workers", "0", "--train.device", "cpu", "--tiny", "--train.batch-size", "8"]
    run, collection = str(folder / "run"), str(folder / "collection")
    assert main(["pretrain", "colorization", "--collection", collection, *small, "-o", run]) == 0
    return run, collection


def evaluate(place: tuple[str, str], task: str, *words: str) -> list[str]:
    given = ["evaluate", "image-transfer", "--task", task, "--model", place[0], "--collection", place[1]]
    return [*given, "--device", "cpu", *words]


@pytest.mark.slow
def test_strategies_from_the_command_line(place: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = evaluate(place, "strategies", "--view", "lightness", "--epochs", "1", "--strategies", "freeze", "init")
    words += ["--workers", "0", "--train-batch", "16"]
    assert main([*words, "--rescale", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    assert {"lightness_freeze/colorization", "lightness_init_rescaled/colorization"} <= set(rows)
    assert (Path(place[0]) / "evaluations" / "image-transfer-strategies.json").is_file()
    assert main([*words, "--train-from", "conv9"]) == 2
    assert "no stage 'conv9'" in capsys.readouterr().err


@pytest.mark.slow
def test_probes_and_machines_from_the_command_line(place: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = evaluate(place, "probe", "--view", "lightness", "--epochs", "1", "--workers", "0", "--train-batch", "16")
    assert main([*words, "--form", "average", "--numbers", "64", "--rescale", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    forms = ("average", "average_rescaled")
    assert {f"lightness_{form}@conv{number}/colorization" for form in forms for number in (1, 2, 3, 4)} == set(rows)
    words = evaluate(place, "svm", "--view", "lightness", "--shots", "2")
    assert main([*words, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    assert {f"lightness_svm_k2_map-{kind}/colorization" for kind in ("area", "11-point")} == set(rows)
    assert main([*words, "--view", "image"]) == 2
    assert "no view 'image'; it has lightness" in capsys.readouterr().err


@pytest.mark.slow
def test_ensembles_from_the_command_line(
    place: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--train.steps", "2", "--train.workers", "0", "--train.device", "cpu", "--tiny", "--train.batch-size", "8"]
    other = str(tmp_path / "other")
    assert main(["pretrain", "colorization", "--collection", place[1], *small, "--seed", "1", "-o", other]) == 0
    given = [
        "evaluate",
        "analysis",
        "--task",
        "ensemble",
        "--model",
        place[0],
        "--collection",
        place[1],
        "--device",
        "cpu",
    ]
    capsys.readouterr()
    assert main([*given, "--with", other, "--controls", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in told["results"]}
    for name in ("colorization", "random", "permuted"):
        figures = {"base_map-area", "member_map-area", "mean_map-area", "joined_map-area", "mean_gain", "joined_gain"}
        assert {f"ensemble_{figure}/{name}" for figure in (*figures, "error_correlation")} <= names
    kept = json.loads((Path(place[0]) / "evaluations" / "analysis-ensemble.json").read_text())
    assert len({each["digest"] for each in kept["weights"]["colorization"]}) == 2
    assert main([*given, "--with", place[0]]) == 2
    assert "the same weights" in capsys.readouterr().err
    assert main([*given, "--with", other, "--with-view", "sound"]) == 2
    assert "the second lightness" in capsys.readouterr().err


@pytest.mark.slow
def test_colours_from_the_command_line(place: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = evaluate(place, "colour", "--size", "32")
    assert main([*words, "--controls", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)["results"]]
    assert {"colour_auc-rebalanced/colorization", "colour_auc/grey", "colour_chroma-share/random"} <= set(names)
    assert len(names) == len(set(names))
    assert main([*words, "--classifier", place[0]]) == 2
    assert "classifier" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures_of_several_classes_in_the_layout_of_voc(
    place: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worlds = {"train": ShapesWorld("train", 24, size=40), "val": ShapesWorld("validation", 1, size=40)}
    write_voc({**worlds, "test": ShapesWorld("test", 12, size=40)}, tmp_path / "VOC2030")
    assert (
        main(["index", "voc:trainval", "--folder", str(tmp_path), "-o", str(tmp_path / "voc"), "--workers", "0"]) == 0
    )
    voc = place[0], str(tmp_path / "voc")
    capsys.readouterr()
    words = evaluate(voc, "svm", "--view", "lightness", "--json")
    assert main(words) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["results"]}
    assert rows["lightness_svm_map-area/colorization"]["n"] == 12
    words = evaluate(voc, "classify", "--view", "lightness", "--epochs", "1", "--workers", "0", "--rescale", "--json")
    assert main(words) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)["results"]}
    assert {f"lightness_classify{kind}_map-11-point/colorization" for kind in ("", "_1crop", "_rescaled")} <= names
