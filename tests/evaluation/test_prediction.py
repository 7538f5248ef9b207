"""Predictions measured: copies score as they must, actions of others are told apart, films have every part."""

import dataclasses
import json

import pytest
import torch
from torch.testing import assert_close

from coview.cli.evaluate import main
from coview.data.augment import PRESETS
from coview.data.memmap import fill
from coview.data.preprocess import Preprocess
from coview.data.synthetic import parse_world
from coview.errors import UsageError
from coview.evaluation.predicted_films import as_gif, films, flow_colours, mask_colours
from coview.evaluation.prediction import prediction
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.methods.predictor import Prediction
from coview.model import Model
from coview.objectives.frame_prediction import psnr


def model_of(slug="physical-prediction", **changes):
    settings = dataclasses.replace(load_method(slug).Settings.tiny(), **changes)
    torch.manual_seed(0)
    method = build(slug, settings, Facts(rows=16)).eval()
    about = {"collection": {"name": "pushes", "fingerprint": "", "rows": 16}, "classes": []}
    return Model(method, Preprocess(method.views, PRESETS["none"]), about)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def source(model):
    return parse_world("pushes", "test", 6, views=model.views)


@pytest.fixture(scope="module")
def result(model, source):
    return prediction(model, source, name="mine", untold=model_of(uses=()), batch_size=4)


def test_figures_of_every_horizon_and_baseline(result, source):
    found = {m.name: m for m in result.results}
    for who in ("mine", "copy-last", "other-actions", "no-actions"):
        for what in ("psnr", "ssim"):
            steps = [found[f"{what}_{step}/{who}"] for step in (1, 2, 3)]
            assert found[f"{what}/{who}"].value == pytest.approx(sum(m.value for m in steps) / 3, rel=1e-5)
            assert all(m.low <= m.value <= m.high and m.n == 6 for m in steps)
    gain = found["psnr_above_copy-last/mine"]
    assert gain.value == pytest.approx(found["psnr/mine"].value - found["psnr/copy-last"].value, abs=1e-4)
    assert gain.chance == 0 and result.choices["horizons"] == 3


def test_the_copy_is_the_last_picture_that_was_shown(result, source):
    clips = source.read_window(torch.arange(6), 0, 1).views["video"].float() / 255
    found = {m.name: m.value for m in result.results}
    for step in (1, 2, 3):
        wanted = psnr(clips[:, :, 1 + step], clips[:, :, 1]).mean()
        assert found[f"psnr_{step}/copy-last"] == pytest.approx(float(wanted), rel=1e-5)


def test_whose_actions_are_told_does_not_depend_on_the_batch(model, source, result):
    alone = prediction(model, source, name="mine", batch_size=1)
    found, wanted = ({m.name: m.value for m in one.results} for one in (alone, result))
    assert found["psnr/other-actions"] == pytest.approx(wanted["psnr/other-actions"], rel=1e-5)
    assert found["psnr/other-actions"] != pytest.approx(found["psnr/mine"], abs=1e-4)


def test_one_recording_has_no_other_to_be_told_of(model):
    found = prediction(model, parse_world("pushes", "test", 1, views=model.views), name="mine")
    assert not any("other-actions" in m.name for m in found.results)
    assert dict(found.problems)["other-actions"].startswith("1 recordings")


def test_recordings_without_a_table_or_with_a_short_one_are_left_out(model, source):
    class Lacking:
        def __getattr__(self, name):
            return getattr(source, name)

        def __len__(self):
            return len(source)

        def read_window(self, row, window, count):
            batch = source.read_window(row, window, count)
            batch.present["actions"] = row != 2
            batch.length["states"] = torch.where(row == 5, 2, 5)
            return batch

    found = prediction(model, Lacking(), name="mine", baselines=False, batch_size=4)
    assert found.results[0].n == 4 and "2 of 6" in found.notes[0]


def test_what_cannot_be_compared_is_refused(model, source):
    with pytest.raises(UsageError, match="other pictures"):
        prediction(model, source, name="mine", untold=model_of(context=3))
    with pytest.raises(UsageError, match="has views that"):
        prediction(model_of(uses=()), source, name="mine", untold=model)
    with pytest.raises(UsageError, match="predicts no pictures"):
        prediction(model_of("swav"), source, name="mine")


def test_films_begin_with_the_last_picture_shown():
    true = torch.rand(1, 3, 2, 8, 8)
    masks = torch.tensor([0.0, 1.0, 0.0])[None, :, None, None, None].expand(1, 3, 2, 8, 8)
    found = Prediction(true, true * 0, true[:, :, 0], masks, torch.zeros(1, 2, 2, 8, 8))
    panels = dict(films(found, 0))
    assert {name: film.shape for name, film in panels.items()} == dict.fromkeys(panels, (3, 8, 8, 3))
    assert (panels["what came"][0] == panels["what came"][1]).all() and not panels["predicted"][1:].any()
    assert_close(mask_colours(masks[0])[:, 0, 0, 0], torch.tensor([1.0, 0.2, 0.2]))
    assert as_gif(panels["what came"]).startswith("data:image/gif;base64,R0lGOD")


def test_flow_is_coloured_by_direction_and_length():
    flow = torch.zeros(2, 1, 1, 3)
    flow[0, 0, 0] = torch.tensor([2.0, -2.0, 0.0])
    right, left, still = flow_colours(flow)[:, 0, 0].T
    assert right.argmax() == 0 and left.argmin() == 0 and not still.any()
    assert_close(right[0], torch.tensor(1.0))


def test_the_command_keeps_figures_and_a_page(tmp_path, model, capsys):
    model.save(tmp_path / "model")
    few = fill(parse_world("pushes", "test", 4, views=model.views), tmp_path / "few")
    words = ["--collection", str(few), "--films", "2", "--json"]
    assert main(["prediction", "--model", str(tmp_path), *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert any(row["name"] == "psnr_above_copy-last/physical-prediction" for row in said["results"])
    page = (tmp_path / "evaluations" / "prediction-physical-prediction-0.html").read_text()
    assert page.count("data:image/gif") == 8 and "motion 6" in page
