"""Fine-tuning on pictures of several classes: the published schedule, and crops that are drawn by the recording."""

import dataclasses
from pathlib import Path

import coloured
import pytest
import torch
from PIL import Image

from coview.data.augment import AugmentSettings
from coview.data.index import index_source
from coview.data.media_source import MediaSource
from coview.data.preprocess import Preprocess
from coview.data.source import cropped
from coview.data.views import Batch
from coview.errors import UsageError
from coview.evaluation.fine_tune import views_of
from coview.evaluation.fine_tune_marks import VOC2007, _scores, _varying, fine_tune_marks
from coview.evaluation.several_labels import Marks
from coview.methods import build
from coview.methods.classifier import ClassifierSettings
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.model import Model
from coview.settings import to_dict

HOW = dataclasses.replace(VOC2007, view="lightness", epochs=2, batch_size=16, workers=0, lr=0.02)


def two_marks(source: coloured.DatasetSource) -> Marks:
    """Return whether a thing is striped, and whether it is a disc or a square; every seventh is unclear."""
    values = torch.stack([source.labels % 2, (source.labels < 4).long()], 1) * 2 - 1
    values[::7, 0] = 0
    return Marks(["striped", "disc or square"], values)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method = build("colorization", ColorizationSettings.tiny(), Facts(rows=16, classes=10))
    return Model.of(method, Preprocess(method.views, AugmentSettings()), coloured.source(16, 0, dict(method.views)))


def test_the_published_schedule() -> None:
    assert VOC2007.milestones == (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875) and VOC2007.gamma == 0.5
    assert round(VOC2007.epochs * 5011 / VOC2007.batch_size, -3) == 80_000


def test_ten_crops_are_drawn_by_seed_crop_and_recording() -> None:
    settings = ClassifierSettings(
        base="colorization", base_settings=to_dict(ColorizationSettings.tiny()), view="lightness", marks=2
    )
    method = build("classifier", settings, Facts(rows=16))
    source = coloured.source(8, 1, {"lightness": method.views["lightness"]})
    tuned = Model.of(method, Preprocess(method.views, AugmentSettings()), source)

    def scores(rows: list[int], seed: int = 0) -> dict[str, torch.Tensor]:
        batch: Batch = source.read_window(torch.tensor(rows), 0, 1)
        how = dataclasses.replace(HOW, seed=seed)
        return _scores(tuned, _varying(tuned, how), source, batch, how)

    whole, part = scores([0, 1, 2, 3]), scores([2])
    torch.testing.assert_close(whole["lightness/ten"][2:3], part["lightness/ten"], rtol=1e-4, atol=1e-5)
    assert float((scores([2], 1)["lightness/ten"] - part["lightness/ten"]).abs().max()) > 1e-4
    assert float((part["lightness/ten"] - 10 * part["lightness/one"]).abs().max()) > 1e-4


def test_ten_crops_lie_anywhere_in_a_wide_photograph_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    wide = torch.linspace(0, 255, 300).to(torch.uint8).expand(100, 300)
    for name, picture in (("a", wide), ("b", wide.flip(1))):
        Image.fromarray(picture.numpy()).save(tmp_path / "files" / f"{name}.png")
    collection = index_source(str(tmp_path / "files"), tmp_path / "index", workers=0)
    settings = ClassifierSettings(
        base="colorization", base_settings=to_dict(ColorizationSettings.tiny()), view="lightness", marks=2
    )
    method = build("classifier", settings, Facts(rows=2))
    source = MediaSource(collection, {"lightness": method.views["lightness"]})
    tuned = Model.of(method, Preprocess(method.views, AugmentSettings()), source)
    seen: list[torch.Tensor] = []
    method.encoders["lightness"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    files, batch = cropped(source, tuned.views, HOW.augment), source.read_window(torch.arange(2), 0, 1)
    _scores(tuned, _varying(tuned, HOW), files, batch, HOW)
    middle, crops = seen[0].mean((1, 2, 3)), torch.stack(seen[1:]).mean((2, 3, 4))
    assert crops.shape == (10, 2)
    assert (crops - middle).abs().max() > 0.5  # no crop of the middle square is nearly black or white


@pytest.mark.slow
def test_several_classes_are_learnt_and_measured(model: Model, tmp_path: Path) -> None:
    views = dict(views_of(model, HOW))
    train, test = coloured.source(400, 1, views), coloured.source(200, 2, views)
    marks = two_marks(train), two_marks(test)
    how = dataclasses.replace(HOW, epochs=10)
    result = fine_tune_marks(model, train, test, marks, tmp_path, how, name="m")
    figures = {m.name: m for m in result.results}
    ten = figures["lightness_classify_map-11-point/m"]
    assert {"lightness_classify_1crop_map-step/m", "lightness_classify_map-step/m"} <= set(figures)
    assert ten.n == 200 and ten.low is not None and ten.chance is not None and ten.low > ten.chance
    again = fine_tune_marks(model, train, test, marks, tmp_path, how, name="m")
    assert [m.value for m in again.results] == [m.value for m in result.results]
    with pytest.raises(UsageError, match="the same recordings"):
        fine_tune_marks(model, train, train, (marks[0], marks[0]), tmp_path, how, name="m")
    with pytest.raises(UsageError, match="different classes"):
        fine_tune_marks(model, train, test, (marks[0], Marks(["x", "y"], marks[1].values)), tmp_path, how, name="m")
