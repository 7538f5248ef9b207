"""Detection and segmentation from the command line, on made shapes in VOC's layout."""

import json

import pytest
import torch

from coview.cli.main import main
from coview.data.adapters import Options
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.open import open_source
from coview.data.preprocess import AugmentSettings, Preprocess
from coview.data.synthetic.shapes import ShapesWorld
from coview.data.synthetic.voc_layout import write_voc
from coview.methods import build
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.model import Model

SMALL = ("--view", "lightness", "--steps", "3", "--train-batch", "2", "--width", "8", "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a model of lightness, and where the collections are."""
    folder = tmp_path_factory.mktemp("shapes")
    worlds = {"train": ShapesWorld("train", 6, size=32), "val": ShapesWorld("validation", 1, size=32)}
    write_voc({**worlds, "test": ShapesWorld("test", 3, size=32)}, folder / "VOC2030")
    for name, variant in (("boxes", ":trainval"), ("masks", ":segmentation")):
        index_source(f"voc{variant}", folder / name, options=Options(folder=folder), workers=0)
    torch.manual_seed(0)
    method = build("colorization", ColorizationSettings.tiny(), Facts(rows=6)).eval()
    source = open_source(str(folder / "boxes"), method.views, split="train")
    Model.of(method, Preprocess(method.views, AugmentSettings()), source, steps=0).save(folder / "model")
    return folder


def evaluate(place, task, collection, *words):
    where = ["--model", str(place / "model"), "--collection", str(place / collection)]
    return main(["evaluate", "image-transfer", "--task", task, *where, *SMALL, *words, "--json"])


def test_boxes(place, capsys):
    assert len(Collection.open(place / "boxes").select(split="train")) == 7
    assert evaluate(place, "detection", "boxes", "--short", "32", "--frozen") == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in said["results"]] == [f"detection_map-{d}/colorization" for d in ("11-point", "area")]
    assert all(row["n"] == 3 and row["low"] is not None and row["chance"] is not None for row in said["results"])
    assert any("jittered-truth" in note for note in said["notes"])
    kept = json.loads((place / "model/evaluations/image-transfer-detection.json").read_text())
    how = kept["choices"]["colorization"][0]["detection"]
    assert how["proposals"]["test"] == "jittered-truth" and how["classes"] == ["cross", "disc", "square", "triangle"]


@pytest.mark.slow
def test_controls_stand_beside_the_model(place, capsys):
    assert evaluate(place, "detection", "boxes", "--short", "32", "--detector", "faster-rcnn", "--controls") == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)["results"]}
    rows = ("colorization", "random", "permuted")
    assert names == {f"detection_map-{d}/{row}" for d in ("11-point", "area") for row in rows}


def test_masks(place, capsys):
    assert evaluate(place, "segmentation", "masks", "--kernel", "1") == 0
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["name"] == "segmentation_miu/colorization" and row["n"] == 3


def test_mistakes_are_told(place, capsys):
    assert evaluate(place, "segmentation", "boxes", "--kernel", "2") == 2
    assert "kernel is odd" in capsys.readouterr().err
    assert evaluate(place, "detection", "boxes", "--stage", "conv9") == 2
    assert "it has conv1, conv2" in capsys.readouterr().err
    assert evaluate(place, "detection", "boxes", "--proposals", "no.npz") == 2
    assert "no regions can be read" in capsys.readouterr().err
