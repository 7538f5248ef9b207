"""The test of colours: what the truth and grey pictures reach, pictures without colour, and a classifier's word."""

from typing import Any

import coloured
import pytest
import torch
from coloured import CLASSES

from coview.data.augment import AugmentSettings
from coview.data.dataset_source import DatasetSource
from coview.data.preprocess import Preprocess
from coview.errors import UsageError
from coview.evaluation.bench import Result
from coview.evaluation.colour_test import ColourTest, colour_test
from coview.methods import build
from coview.methods.classifier import ClassifierSettings
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.model import Model
from coview.painting.painter import Painter
from coview.settings import to_dict

HOW = ColourTest(size=32)


def made(method: str, settings: Any) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = build(method, settings, Facts(rows=16, classes=len(CLASSES)))
    return Model.of(built, Preprocess(built.views, AugmentSettings()), coloured.source(16, 0, dict(built.views)))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return made("colorization", ColorizationSettings.tiny())


def measure(model: Model, how: ColourTest = HOW) -> tuple[dict[str, float], Result]:
    views: Any = how.views()
    result = colour_test(model, coloured.source(24, 1, views), coloured.source(20, 2, views), how, name="m")
    return {m.name.removeprefix("colour_"): m.value for m in result.results}, result


def test_the_truth_and_grey_are_the_ends_of_every_scale(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Painter, "paint", lambda self, picture: picture)
    true, result = measure(model)
    assert true["auc/m"] == pytest.approx(1, abs=0.01) and true["auc-rebalanced/m"] == pytest.approx(1, abs=0.01)
    assert true["chroma-share/m"] == pytest.approx(1, abs=0.01) and true["hue-confusion/m"] == 0
    for figure in ("one-direction", "bleeding", "chroma-unevenness", "hue-unevenness"):
        assert true[f"{figure}/m"] == pytest.approx(true[f"{figure}/true"], abs=0.01)
    assert 0.5 < true["auc/grey"] < 1 and true["auc-rebalanced/grey"] < true["auc/grey"]
    figures = {m.name: m for m in result.results}
    mine = figures["colour_auc-rebalanced/m"]
    assert mine.chance == true["auc-rebalanced/grey"] and mine.n == 20 and mine.low is not None
    monkeypatch.setattr(
        Painter, "paint", lambda self, picture: picture.mean(2, keepdims=True).repeat(3, 2).astype("uint8")
    )
    grey, _ = measure(model)
    assert grey["chroma-share/m"] < 0.01
    assert grey["auc/m"] == pytest.approx(grey["auc/grey"], abs=0.01)
    assert "hue-confusion/m" not in grey and "bleeding/m" not in {k for k, v in grey.items() if v != v}


def test_pictures_without_colour_are_left_out_and_counted(model: Model) -> None:
    views: Any = HOW.views()
    things = coloured.ColouredThings(12, 3, views)
    things.pictures[:5] = things.pictures[:5].float().mean(1, keepdim=True).to(torch.uint8)
    test = DatasetSource(things, views, name="some", labels=things.labels, classes=CLASSES)
    train = coloured.source(8, 1, views)
    result = colour_test(model, train, test, HOW, name="m")
    assert {m.n for m in result.results} == {7}
    assert result.choices["colour"]["left_out"] == {"grey": 5}
    things.pictures[:] = 90
    with pytest.raises(UsageError, match="none of its 12 pictures has colour"):
        colour_test(model, train, test, HOW, name="m")
    with pytest.raises(UsageError, match="'grey' names figures"):
        colour_test(model, train, test, HOW, name="grey")
    with pytest.raises(UsageError, match="makes holes, not colours"):
        colour_test(made("context-encoder", None), train, train, HOW, name="m")


def test_a_classifier_is_asked_of_real_grey_and_coloured_pictures(model: Model) -> None:
    settings = ClassifierSettings(
        base="colorization", base_settings=to_dict(ColorizationSettings.tiny()), view="lightness"
    )
    judge = made("classifier", settings)
    picture = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)
    assert judge.encode_image(picture[0], view="lightness").shape == (1, 10)
    figures, result = measure(model, ColourTest(size=32, classifier=judge))
    assert {name for name in figures if name.startswith("classified/")} == {
        f"classified/{arm}" for arm in ("true", "grey", "mean-colour", "m")
    }
    assert all(m.chance == 0.1 and m.n == 20 for m in result.results if "classified" in m.name)
    with pytest.raises(UsageError, match="does not hold a score for each class"):
        measure(model, ColourTest(size=32, classifier=model))
