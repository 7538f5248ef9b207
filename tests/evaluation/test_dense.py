"""Detection and segmentation on a model's maps: what learns and what stays, stopped runs, regions, bad input.

The decisive experiment (`shapes_transfer.py`) is slow; its figures of three seeds stand in docs/protocols.md.
"""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from scipy.io import savemat

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.scenes import VOID, Objects, Scene
from coview.data.synthetic.shapes import ShapesWorld
from coview.errors import MediaError, UsageError
from coview.evaluation.dense import Maps, drawn
from coview.evaluation.detection import Detection, detect
from coview.evaluation.proposals import FromFile, JitteredTruth, SelectiveSearch, inside
from coview.evaluation.segmentation import Segmentation, Segmenter, segment
from coview.methods import build
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.methods.recipe import OptimiserSettings
from coview.model import Model

SLOW_RATE = OptimiserSettings(kind="sgd", lr=1e-4, clip_gradient=10.0)
TINY = {"view": "lightness", "optimiser": SLOW_RATE, "steps": 2, "checkpoint_every": 1}
DETECTION = Detection(
    **TINY, short=(32, 40), test_short=32, long=48, width=8, cells=2, regions=8, definitions=("area", "11-point")
)
SEGMENTATION = Segmentation(**TINY, batch_size=2, width=8, kernel=3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    method = build("colorization", ColorizationSettings.tiny(), Facts(rows=8))
    about = {"collection": {"name": "made", "fingerprint": "0", "rows": 8}, "classes": []}
    return Model(method.eval(), Preprocess(method.views, AugmentSettings()), about)


@pytest.fixture(scope="module")
def worlds():
    return ShapesWorld("train", 4, size=32), ShapesWorld("test", 3, size=32)


class Listed:
    """Scenes of a list."""

    name, fingerprint, problems = "listed", "f", (("x", "damaged"),)

    def __init__(self, scenes, classes=("cross", "disc", "square", "triangle")):
        self.scenes, self.classes, self.ids = scenes, classes, [str(row) for row in range(len(scenes))]

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, row):
        return self.scenes[row]

    def truth(self, row):
        return self.scenes[row].objects

    def mirrorable(self, row):
        return True


@pytest.mark.parametrize("detector", ["fast-rcnn", "faster-rcnn"])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_detector_learns_and_the_model_stays(model, worlds, detector, frozen, tmp_path):
    before = model.digest
    how = dataclasses.replace(DETECTION, detector=detector, frozen=frozen)
    result = detect(model, *worlds, tmp_path, how, name="x")
    assert model.digest == before
    assert [m.name for m in result.results] == ["detection_map-area/x", "detection_map-11-point/x"]
    assert all(0 <= m.low <= m.value <= m.high <= 1 and m.n == 3 for m in result.results)
    made_of = result.choices["detection"].get("proposals")
    if detector == "fast-rcnn":
        assert made_of == {"train": "jittered-truth", "test": "jittered-truth"} and "jittered-truth" in result.notes[0]


def test_a_stopped_run_goes_on_to_the_same_figures(model, worlds, tmp_path):
    for run, how in ((detect, DETECTION), (segment, SEGMENTATION)):
        whole = run(model, *worlds, tmp_path / f"{run.__name__}-whole", how, name="x")

        class StoppedError(Exception):
            pass

        def stop(what, done, total):
            if what == "training" and done == 1:
                raise StoppedError

        with pytest.raises(StoppedError):
            run(model, *worlds, tmp_path / run.__name__, how, name="x", progress=stop)
        again = run(model, *worlds, tmp_path / run.__name__, how, name="x")
        assert again.results == whole.results
        with pytest.raises(UsageError, match="holds a run with other settings"):
            run(model, *worlds, tmp_path / run.__name__, dataclasses.replace(how, steps=3), name="x")


def test_what_is_frozen_stays_and_statistics_always_do(model, worlds, tmp_path):
    for frozen in (True, False):
        how = dataclasses.replace(SEGMENTATION, frozen=frozen)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            segmenter = Segmenter(Maps(model, how), 4, how)
        before = copy.deepcopy(segmenter.maps.state_dict())
        segmenter.train()
        scores = segmenter(torch.rand(2, 3, 40, 32))
        assert scores.shape == (2, 5, 40, 32)
        scores.square().mean().backward()
        moved = [p.grad is not None and bool(p.grad.any()) for p in segmenter.maps.parameters()]
        assert any(moved) is not frozen
        assert all(torch.equal(v, segmenter.maps.state_dict()[name]) for name, v in before.items())


def test_pictures_of_any_size_are_seen_as_the_model_sees_them(model):
    maps = Maps(model, SEGMENTATION).eval()
    pictures = torch.rand(1, 3, 48, 64)
    seen = model.views["lightness"].seen(pictures, None)
    want = model.method.encoders["lightness"].feature_maps(seen)["conv4"]
    assert maps.out_channels == 128 and torch.equal(maps(pictures), want)
    early = Maps(model, dataclasses.replace(SEGMENTATION, stage="conv2"))
    assert early.out_channels == 32
    for changes, message in (({"view": "video"}, "it has lightness"), ({"stage": "conv9"}, "it has conv1, conv2")):
        with pytest.raises(UsageError, match=message):
            Maps(model, dataclasses.replace(SEGMENTATION, **changes))


def test_steps_take_every_row_once_an_epoch():
    how = dataclasses.replace(SEGMENTATION, batch_size=3)
    rows = [[row for row, _ in drawn(step, 6, how)] for step in range(4)]
    assert sorted(rows[0] + rows[1]) == sorted(rows[2] + rows[3]) == list(range(6)) and rows[:2] != rows[2:]
    assert {mirror for step in range(8) for _, mirror in drawn(step, 6, how)} == {True, False}


def test_masks_without_a_pixel_that_counts_teach_nothing(model, worlds, tmp_path):
    blind = Listed(
        [scene._replace(mask=torch.full_like(scene.mask, VOID)) for scene in map(worlds[0].__getitem__, (0, 1))]
    )
    result = segment(model, blind, worlds[1], tmp_path, SEGMENTATION, name="x")
    assert 0 <= result.results[0].value <= 1
    assert result.problems == [("x", "damaged")] and result.choices["segmentation"]["left_out"]["train"] == 1
    wrong = Listed([worlds[0][0]._replace(mask=torch.zeros(8, 8, dtype=torch.uint8))])
    with pytest.raises(MediaError, match=r"expected a mask of \(32, 32\) pixels, found one of \(8, 8\)"):
        segment(model, wrong, worlds[1], tmp_path / "b", SEGMENTATION, name="x")


def test_scenes_that_cannot_be_learnt_from_are_errors(model, worlds, tmp_path):
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    empty = Listed([Scene(worlds[0].pictures[0], nothing, None)])
    with pytest.raises(UsageError, match="no picture has an object to learn from"):
        detect(model, empty, worlds[1], tmp_path, DETECTION, name="x")
    with pytest.raises(UsageError, match="no test picture has an object that counts"):
        detect(model, worlds[0], empty, tmp_path / "b", DETECTION, name="x")
    for run, how in ((detect, DETECTION), (segment, SEGMENTATION)):
        with pytest.raises(UsageError, match="have different classes"):
            run(model, worlds[0], Listed([worlds[1][0]], ("dog",)), tmp_path, how, name="x")
        with pytest.raises(UsageError, match="the same pictures; choose two splits"):
            run(model, worlds[0], worlds[0], tmp_path, how, name="x")
    for wrong in ({"kernel": 2}, {"kernel": -1}, {"width": 0}):
        with pytest.raises(ValueError, match="kernel is odd"):
            Segmentation(**wrong)
    for wrong in ({"short": (0,)}, {"short": ()}, {"long": 0}, {"width": 0}):
        with pytest.raises(ValueError, match="at least"):
            Detection(**wrong)


def test_regions_from_files(worlds, tmp_path):
    test, path = worlds[1], tmp_path / "regions.npz"
    boxes = {name: np.array([[1, 2, 9, 12], [-5, 0, 50, 8], [3, 3, 3, 9]], np.float64) for name in test.ids}
    np.savez(path, **boxes)
    want = [[1, 2, 9, 12], [0, 0, 32, 8]]  # cut to the picture; what is empty is left out
    assert FromFile(path, test)(0, test[0]).tolist() == want
    cells, names = np.empty((1, 3), object), np.empty((3, 1), object)
    for k, name in enumerate(test.ids):
        cells[0, k], names[k, 0] = boxes[name][:1][:, (1, 0, 3, 2)] + [1, 1, 0, 0], name
    savemat(tmp_path / "regions.mat", {"boxes": cells, "images": names})
    assert FromFile(tmp_path / "regions.mat", test)(1, test[1]).tolist() == want[:1]
    np.savez(path, **{test.ids[0]: boxes[test.ids[0]]})
    with pytest.raises(UsageError, match="lacks the regions of 2 pictures, such as test-000001"):
        FromFile(path, test)
    np.savez(path, **{name: np.zeros((2, 3)) for name in test.ids})
    with pytest.raises(UsageError, match=r"expected finite numbers \(n, 4\)"):
        FromFile(path, test)
    path.write_bytes(b"no archive")
    with pytest.raises(UsageError, match="no regions can be read"):
        FromFile(path, test)
    assert inside(torch.zeros(0, 4), 5, 7).tolist() == [[0, 0, 7, 5]]


def test_a_finished_run_does_not_answer_for_other_regions(model, worlds, tmp_path):
    path = tmp_path / "regions.npz"
    how = dataclasses.replace(DETECTION, steps=1, proposals=str(path), test_proposals="jittered-truth")
    np.savez(path, **dict.fromkeys(worlds[0].ids, np.array([[1.0, 2, 20, 22]])))
    detect(model, *worlds, tmp_path / "run", how, name="x")
    np.savez(path, **dict.fromkeys(worlds[0].ids, np.array([[3.0, 4, 20, 22]])))
    with pytest.raises(UsageError, match="other settings or other pictures"):
        detect(model, *worlds, tmp_path / "run", how, name="x")


def test_jittered_truth_depends_on_seed_and_row(worlds):
    scene = worlds[0][1]
    boxes = JitteredTruth(0)(1, scene)
    assert torch.equal(boxes, JitteredTruth(0)(1, scene)) and not torch.equal(boxes[:5], JitteredTruth(1)(1, scene)[:5])
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 1 and boxes.min() >= 0 and boxes.max() <= 32


def test_selective_search_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2.ximgproc.segmentation", None)
    with pytest.raises(UsageError, match="opencv-contrib-python-headless"):
        SelectiveSearch()
