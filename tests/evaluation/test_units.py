"""Units: the receptive fields of the card, a planted square that one unit finds, and the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coview.data.augment import AugmentSettings
from coview.data.dataset_source import DatasetSource
from coview.data.preprocess import Preprocess
from coview.data.views import FeaturesView, ImageView
from coview.encoders import Encoder
from coview.encoders.alexnet import AlexNet
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.receptive import seen_by
from coview.evaluation.units import TOP, Units, chosen, units
from coview.evaluation.units_page import write_units
from coview.methods.contract import About, Facts, Method
from coview.model import Model

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "protocols-analysis.npz")
SIDE = 32


@pytest.mark.parametrize("stage", GOLDEN["rf_names"].tolist())
def test_receptive_fields_are_those_of_the_recurrence(stage: str) -> None:
    size, stride, centre = GOLDEN["rf_size_stride_centre"][GOLDEN["rf_names"].tolist().index(stage)]
    inside = int(np.ceil((size / 2 - centre) / stride)) + 1  # the first unit whose field is whole
    side = max(100, int(centre + stride * (inside + 1) + size / 2) + 12)
    one, next_ = seen_by(
        AlexNet(share=0.04, padded=False), stage, (3, side, side), [(inside, inside), (inside, inside + 1)]
    )
    assert (one[2] - one[0], one[3] - one[1]) == (size, size)
    assert (one[1] + one[3] - 1) / 2 == centre + stride * inside
    assert next_[1] - one[1] == stride and next_[0] == one[0]


class Joined(Encoder):
    """A branch of 5 x 5 beside one of 1 x 1, and the mean of everything on top."""

    stages, dim = ("joined", "whole"), 2

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 2, 5, padding=2), nn.Conv2d(3, 2, 1)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        joined = self.wide(x) + self.narrow(x)
        return {"joined": joined, "whole": joined.mean((2, 3), keepdim=True)}

    def pool(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def test_branches_means_and_borders() -> None:
    assert seen_by(Joined(), "joined", (3, 20, 24), [(10, 9), (0, 23)]) == [(8, 7, 13, 12), (0, 21, 3, 24)]
    assert seen_by(Joined(), "whole", (3, 20, 24), [(0, 0)]) == [(0, 0, 20, 24)]


class RedSquares(Encoder):
    """A unit for red squares of 4 x 4, one for darkness, and one that nothing excites."""

    stages, dim = ("squares",), 3

    def __init__(self) -> None:
        super().__init__()
        self.squares = nn.Sequential(nn.Conv2d(3, 3, 4, 2, bias=False), nn.ReLU())
        weight = torch.zeros(3, 3, 4, 4)
        weight[0, 0], weight[0, 1:] = 1.0, -1.0
        weight[1], weight[2] = -0.1, 0.0
        self.squares[0].weight = nn.Parameter(weight)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return self.through_stages(x)

    def pool(self, maps: Tensor) -> Tensor:
        return maps.amax((2, 3))


class Pooled(Joined):
    """A function, not a layer, takes the maxima."""

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {"joined": self.narrow(nn.functional.max_pool2d(x, 3, 2, 1))}


def test_maxima_of_functions_see_their_whole_window() -> None:
    assert seen_by(Pooled(), "joined", (3, 20, 24), [(5, 4), (0, 0)]) == [(9, 7, 12, 10), (0, 0, 2, 2)]


PLANTED = {3: (4, 20), 11: (16, 2), 17: (0, 0), 40: (28, 28), 59: (10, 14)}
PLANTED |= {21: (6, 6), 22: (8, 20), 33: (20, 10), 44: (2, 12), 51: (24, 4)}
VIEW = ImageView(size=SIDE, margin=1.0)


class _Settings:
    def specs(self) -> Mapping[str, Any]:
        return {"image": VIEW}


class _Looks(Method):
    about = About(slug="looks", title="Looks", paper="none", family="test", state="working")
    Settings = _Settings
    coupling = "none"

    def __init__(self, settings: _Settings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders["image"] = RedSquares()


@pytest.fixture(scope="module")
def bench() -> Bench:
    random = np.random.default_rng(0)
    rows, labels = [], []
    for number in range(60):
        picture = np.repeat(random.integers(60, 130, (1, SIDE, SIDE)), 3, 0).astype(np.uint8)  # grey
        if number in PLANTED:
            y, x = PLANTED[number]
            picture[:, y : y + 4, x : x + 4] = np.array([255, 0, 0])[:, None, None]
        rows.append({"image": torch.from_numpy(picture)[:, None]})
        labels.append(0 if number in PLANTED else 1 + number % 2)
    source = DatasetSource(rows, {"image": VIEW}, labels=labels, classes=["square", "plain", "bare"])
    preprocess = Preprocess({"image": VIEW}, AugmentSettings())
    model = Model.of(_Looks(_Settings(), Facts(rows=60)).eval(), preprocess, source)
    return Bench(model, None, source, name="looks")


@pytest.fixture(scope="module")
def seen(bench: Bench) -> Units:
    with bench:
        return units(bench)


def test_a_planted_square_is_found_by_the_unit_for_it(bench: Bench, seen: Units) -> None:
    assert set(seen.top[0].tolist()) == set(PLANTED) and (seen.view, seen.stage) == ("image", "squares")
    encoder = bench.model.method.encoders["image"]
    for row, place in zip(seen.top[0].tolist(), seen.place[0].tolist(), strict=True):
        (box,) = seen_by(cast(Encoder, encoder), "squares", VIEW.shape, [tuple(place)])
        middle = [(box[0] + box[2] - 4) / 2, (box[1] + box[3] - 4) / 2]
        assert max(abs(one - other) for one, other in zip(middle, PLANTED[row], strict=True)) <= 2  # one stride


def test_a_detector_is_told_from_units_that_are_none(bench: Bench, seen: Units) -> None:
    assert seen.detectors.tolist() == [True, False, False] and float(seen.share[0]) == 1
    assert seen.top[2].tolist() == list(range(TOP))  # nothing excites it: equal values in the order of the rows
    (figure,) = bench.result.results
    assert figure.name == "image_units@squares/looks" and figure.value == pytest.approx(1 / 3)
    assert figure.chance is not None and figure.chance < 0.05
    assert bench.result.choices["image_units@squares"]["detectors_of"] == {"square": 1}
    assert bench.result.choices["image_units@squares"]["never_excited"] == 1


def test_batches_and_processes_keep_what_all_pictures_at_once_would(bench: Bench, seen: Units) -> None:
    with Bench(bench.model, None, bench.test, name="looks", batch_size=7) as small:
        again = units(small)
    torch.testing.assert_close(again.peak, seen.peak)
    gap = seen.peak.diff().abs() > 1e-4  # of equals another batch may round another up
    apart = torch.cat([gap[:, :1], gap[:, 1:] & gap[:, :-1]], 1)
    assert int(apart.sum()) > 2
    assert torch.equal(again.top[:, :-1][apart], seen.top[:, :-1][apart])
    assert torch.equal(again.place[:, :-1][apart], seen.place[:, :-1][apart])
    assert set(again.top[0].tolist()) == set(PLANTED)
    assert torch.equal(again.top[2], seen.top[2]) and torch.equal(again.place[2], seen.place[2])  # 0 everywhere


def test_without_labels_there_are_units_and_no_figure(bench: Bench) -> None:
    source = DatasetSource(
        [{"image": bench.test.read_window(torch.tensor([n]), 0, 1).views["image"][0]} for n in range(12)],
        {"image": VIEW},
    )
    with Bench(bench.model, None, source, name="looks") as plain:
        assert set(units(plain).label) == {-1}
    assert not plain.result.results and not plain.result.problems
    assert "has no labels: its units are shown" in plain.result.notes[0]


class _Beside:
    def specs(self) -> Mapping[str, Any]:
        return {"image": VIEW, "numbers": FeaturesView(dim=3)}


class _Both(_Looks):
    Settings = _Beside

    def __init__(self, settings: _Beside, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.encoders["numbers"] = nn.Linear(3, 2)  # has no maps


def test_a_view_without_maps_beside_pictures_is_not_looked_at() -> None:
    rows = [
        {"image": torch.full((3, 1, SIDE, SIDE), n, dtype=torch.uint8), "numbers": torch.ones(3)} for n in range(12)
    ]
    views = _Beside().specs()
    source = DatasetSource(rows, views)
    model = Model.of(_Both(_Beside(), Facts(rows=12)).eval(), Preprocess(views, AugmentSettings()), source)
    with Bench(model, None, source, name="both") as bench:
        assert units(bench).view == "image"


def test_the_page_shows_units_a_map_and_a_sheet(bench: Bench, seen: Units, tmp_path: Path) -> None:
    page = tmp_path / "evaluations" / "units.html"
    assert write_units(bench.model, bench.test, seen, page, bench.result.results) == 2
    text = page.read_text()
    assert 'Unit 0: 100 % "square", a detector' in text and "1 unit is excited by nothing" in text
    assert text.count("data:image/jpeg") == 12 and text.count("data:image/png") == 1 and "map of 60 recordings" in text
    assert len(text) < 500_000 and "http://" not in text.replace("http://www.w3.org", "")


def test_what_is_not_there_is_said(bench: Bench) -> None:
    with pytest.raises(UsageError, match=r"audio: the model's views of pictures are image"):
        chosen(bench.model, "audio", None)
    with pytest.raises(UsageError, match=r"has no stage 'conv9'; it has squares"):
        chosen(bench.model, None, "conv9")
    few = DatasetSource([{"image": torch.zeros(3, 1, SIDE, SIDE, dtype=torch.uint8)}] * 4, {"image": VIEW})
    with Bench(bench.model, None, few, name="looks") as short, pytest.raises(UsageError, match="4 recordings have"):
        units(short)
