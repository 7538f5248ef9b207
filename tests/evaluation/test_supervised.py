import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coview.data.augment import PRESETS
from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError
from coview.evaluation.bench import Result
from coview.evaluation.supervised import Supervised, load, supervised
from coview.methods.supervised_av import SupervisedAVSettings

SETTINGS = SupervisedAVSettings.tiny()
HOW = Supervised(
    method=SETTINGS, epochs=4, patience=1, lr=3e-3, batch_size=8, windows=1, augment=PRESETS["digits"], workers=0,
    device="cpu",
)  # fmt: skip


def parts() -> list[DigitsWorld]:
    views = {"video": SETTINGS.video, "audio": SETTINGS.audio}
    return [DigitsWorld("A", split, n, 0, views) for split, n in (("train", 24), ("validation", 16), ("test", 15))]


def measure(out: Path, how: Supervised = HOW, test_labels: torch.Tensor | None = None) -> Result:
    train, validation, test = parts()
    if test_labels is not None:
        test.labels = test_labels
    return supervised(train, validation, test, out, how)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("ceiling")
    return out, measure(out)


def test_the_best_epoch_on_validation_is_kept_and_tested_once(done: tuple[Path, Result]) -> None:
    out, result = done
    choices = result.choices["supervised"]
    accuracy = choices["validation_accuracy"]
    assert choices["chosen_epoch"] == 1 + accuracy.index(max(accuracy))
    assert len(accuracy) in (choices["chosen_epoch"] + HOW.patience, HOW.epochs)
    assert [m.name for m in result.results] == ["supervised/supervised-av", "supervised_top5/supervised-av"]
    assert result.choices["validation"]["name"] == "digits-av:A"
    summary = json.loads((out / "run" / "summary.json").read_text())
    assert summary["steps"] == 3 * len(accuracy)  # training ended there
    assert load(out).method.state_dict()["classifier.weight"].shape == (10, 256)


def test_the_test_part_has_no_say_in_the_epoch(done: tuple[Path, Result], tmp_path: Path) -> None:
    turned = (parts()[2].labels + 3) % 10
    other = measure(tmp_path, test_labels=turned)
    for name in ("chosen_epoch", "validation_accuracy"):
        assert other.choices["supervised"][name] == done[1].choices["supervised"][name]


def test_a_stopped_run_chooses_the_same_epoch(
    done: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coview.training import loop

    real, saves = loop.save, []

    def failing(*arguments):
        if len(saves) == 1:
            raise KeyboardInterrupt  # after the second epoch was judged, before its checkpoint
        saves.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(loop, "save", failing)
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path)
    monkeypatch.setattr(loop, "save", real)
    assert measure(tmp_path).to_dict() == done[1].to_dict()


def test_a_classifier_for_each_view(tmp_path: Path) -> None:
    result = measure(tmp_path, replace(HOW, epochs=1, method=replace(SETTINGS, fusion="per-view")))
    assert {m.name for m in result.results if "top5" not in m.name} == {
        "video_supervised/supervised-av",
        "audio_supervised/supervised-av",
    }


def test_parts_that_are_one_and_another_validation_part_are_refused(done: tuple[Path, Result]) -> None:
    train, validation, test = parts()
    with pytest.raises(UsageError, match="same recordings"):
        supervised(train, test, test, done[0], HOW)
    views = train.views
    other = DigitsWorld("A", "validation", 20, 0, views)
    with pytest.raises(UsageError, match="chosen on other recordings"):
        supervised(train, other, test, done[0], HOW)
    assert len(validation) == 16
