"""Adapters of VOC, ImageNet and Places205, on small trees in the official layouts."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from coview.data.adapters import Options
from coview.data.adapters.voc import CLASSES
from coview.data.index import index_source
from coview.errors import UsageError

WNIDS = ("n01440764", "n01443537")


def picture(path, seed=0, kind="JPEG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 20, 3), np.uint8)).save(out, kind)
    path.write_bytes(out.getvalue())


def text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def index(name, folder, out):
    return index_source(name, out, options=Options(folder=folder), workers=0)


def refused(collection):
    return {(lost.path, lost.reason) for lost in collection.quarantine()}


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2007"
    parts = {"train": ["000001", "000002"], "val": ["000003"], "test": ["000004", "000005"]}
    for part, ids in parts.items():
        text(root / f"ImageSets/Main/{part}.txt", *ids)
        for name in CLASSES:
            text(root / f"ImageSets/Main/{name}_{part}.txt", *(f"{one} -1" for one in ids))
    text(root / "ImageSets/Main/dog_train.txt", "000001  1", "000002  0")
    for part, ids in {"train": ["000001"], "val": ["000003"], "test": ["000004"]}.items():
        text(root / f"ImageSets/Segmentation/{part}.txt", *ids)
    for number in range(1, 5):
        picture(root / f"JPEGImages/00000{number}.jpg", number)
        text(root / f"Annotations/00000{number}.xml", "<annotation></annotation>")
    picture(root / "SegmentationClass/000001.png", kind="PNG")
    picture(root / "SegmentationClass/000003.png", kind="PNG")
    return root


def test_voc_has_parts_labels_boxes_and_masks(voc, tmp_path):
    collection = index("voc2007", voc.parents[1], tmp_path / "c")
    rows = {row.id: row for row in collection}
    assert {name: row.split for name, row in rows.items()} == {
        "000001": "train", "000002": "train", "000003": "validation", "000004": "test",
    }  # fmt: skip
    assert rows["000001"].labels == {name: 1 if name == "dog" else -1 for name in CLASSES}
    assert rows["000002"].labels["dog"] == 0 and rows["000003"].labels["dog"] == -1
    assert rows["000001"].tracks == {"objects": "Annotations/000001.xml", "mask": "SegmentationClass/000001.png"}
    assert set(rows["000002"].tracks) == {"objects"} and rows["000002"].label is None
    assert refused(collection) == {("JPEGImages/000005.jpg", "not-downloaded")}
    report = collection.about["report"]
    assert report["official"] == {"train": 2501, "val": 2510, "test": 4952}
    assert report["listed"] == {"train": 2, "val": 1, "test": 2, "classes": 20}


def test_voc_variants(voc, tmp_path):
    both = index("voc2007:trainval", voc, tmp_path / "a")
    assert both.select(split="train").ids == ["000001", "000002", "000003"]
    masks = index("voc2007:segmentation-trainval", voc.parent, tmp_path / "b")
    assert masks.ids == ["000001", "000003", "000004"] and masks.select(split="train").ids == ["000001", "000003"]
    assert refused(masks) == {("SegmentationClass/000004.png", "missing")}
    assert "no-mask" in masks[2].flags
    with pytest.raises(UsageError, match="expected voc2007, voc2007:trainval"):
        index("voc2007:all", voc, tmp_path / "c")
    with pytest.raises(UsageError, match=r"has a folder ImageSets.*host\.robots\.ox\.ac\.uk"):
        index("voc2012", voc.parent, tmp_path / "c")


def test_damaged_and_missing_lists_of_voc_are_named(voc, tmp_path):
    text(voc / "ImageSets/Main/val.txt", "000003", "../secret", "what is this")
    text(voc / "ImageSets/Main/cat_val.txt", "000003 7", "000003  1")
    collection = index("voc2007", voc, tmp_path / "c")
    damaged = {(line, "damaged-list") for line in ("../secret", "what is this", "000003 7")}
    assert damaged < refused(collection) and collection[2].labels["cat"] == 1
    for part in ("train", "val", "test"):
        (voc / f"ImageSets/Main/sofa_{part}.txt").unlink()
    with pytest.raises(UsageError, match=r"ImageSets/Main lacks sofa_train\.txt"):
        index("voc2007", voc, tmp_path / "d")
    own = index("voc", voc, tmp_path / "d")  # any classes in the same layout
    assert len(own[0].labels) == 19 and own.about["report"]["official"] == {}
    (voc / "ImageSets/Main/train.txt").unlink()
    with pytest.raises(UsageError, match=r"lacks the list ImageSets/Main/train\.txt"):
        index("voc", voc, tmp_path / "e")


@pytest.fixture
def imagenet(tmp_path):
    root = tmp_path / "ILSVRC2012"
    for number, wnid in enumerate(WNIDS):
        picture(root / f"train/{wnid}/{wnid}_10.JPEG", number)
        picture(root / f"val/ILSVRC2012_val_{number + 1:08d}.JPEG", number + 2)
    return root


def labels(collection):
    return {row.path: (row.label, row.split) for row in collection}


EXPECTED = {
    "train/n01440764/n01440764_10.JPEG": ("n01440764", "train"),
    "train/n01443537/n01443537_10.JPEG": ("n01443537", "train"),
    "val/ILSVRC2012_val_00000001.JPEG": ("n01443537", "test"),
    "val/ILSVRC2012_val_00000002.JPEG": ("n01440764", "test"),
}


@pytest.mark.parametrize("names", ["text", "mat"])
def test_imagenet_by_the_development_kit(imagenet, names, tmp_path):
    text(imagenet / "devkit/data/ILSVRC2012_validation_ground_truth.txt", "2", "1", "", "9", "1")
    if names == "text":
        text(imagenet / "devkit/data/map_clsloc.txt", *(f"{wnid} {k + 1} fish" for k, wnid in enumerate(WNIDS)))
    else:
        rows = [(k + 1, wnid, 0) for k, wnid in enumerate(WNIDS)] + [(3, "n00000001", 2)]
        synsets = np.array(rows, [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("num_children", "i4")])
        savemat(imagenet / "devkit/data/meta.mat", {"synsets": synsets})
    collection = index("imagenet", imagenet, tmp_path / "c")
    assert labels(collection) == EXPECTED
    lines = {f"ILSVRC2012_validation_ground_truth.txt, line {n}: {found}" for n, found in ((3, "b''"), (4, "b'9'"))}
    assert refused(collection) == {(line, "damaged-list") for line in lines} | {
        ("val/ILSVRC2012_val_00000005.JPEG", "not-downloaded")
    }
    assert collection.about["report"]["there"] == {"train": 2, "val": 2}


def test_imagenet_in_folders_or_as_kaggle_has_it(imagenet, tmp_path):
    with pytest.raises(UsageError, match=r"lacks ILSVRC2012_validation_ground_truth\.txt.*www\.image-net\.org"):
        index("imagenet", imagenet, tmp_path / "c")
    kaggle = tmp_path / "kaggle"
    (kaggle / "Data").mkdir(parents=True)
    imagenet.rename(kaggle / "Data" / "CLS-LOC")
    text(kaggle / "LOC_val_solution.csv", "ImageId,PredictionString",
         *(f"ILSVRC2012_val_0000000{k},{WNIDS[2 - k]} 1 2 3 4" for k in (1, 2)), "damaged")  # fmt: skip
    collection = index("imagenet", kaggle, tmp_path / "c")
    assert labels(collection) == EXPECTED and refused(collection) == {("damaged", "damaged-list")}
    root = kaggle / "Data" / "CLS-LOC"
    for name, (label, _) in EXPECTED.items():
        if name.startswith("val"):
            (root / "val" / label).mkdir()
            (root / name).rename(root / "val" / label / name.rpartition("/")[2])
    picture(root / "train/others/x.JPEG", 9)
    found = index("imagenet", root, tmp_path / "d")
    assert sorted(found.column("label")) == sorted([*WNIDS, *WNIDS])
    assert refused(found) == {("train/others/x.JPEG", "damaged-list")}
    with pytest.raises(UsageError, match="lacks the folder train"):
        index("imagenet", root / "val", tmp_path / "e")


def test_places205_follows_its_lists(tmp_path):
    root = tmp_path / "places"
    for number, name in enumerate(("a/abbey/1.jpg", "a/abbey/3.jpg", "a/apartment_building/outdoor/2.jpg")):
        picture(root / "images256" / name, number)
    text(root / "train_places205.csv", "a/abbey/1.jpg 0", "a/apartment_building/outdoor/2.jpg 1", "a/abbey/9.jpg 0",
         "a/../../x.jpg 0", "a/abbey/4.jpg 1", "no number")  # fmt: skip
    with pytest.raises(UsageError, match=r"lacks the list val_places205\.csv.*places\.csail"):
        index("places205", root, tmp_path / "c")
    text(root / "val_places205.csv", "a/abbey/3.jpg 0")
    collection = index("places205", root, tmp_path / "c")
    assert {row.id: (row.label, row.split) for row in collection} == {
        "a/abbey/1.jpg": ("abbey", "train"),
        "a/abbey/3.jpg": ("abbey", "test"),
        "a/apartment_building/outdoor/2.jpg": ("apartment_building/outdoor", "train"),
    }
    damaged = ("a/../../x.jpg 0", "a/abbey/4.jpg 1", "no number")
    assert refused(collection) == {("a/abbey/9.jpg", "not-downloaded"), *((line, "damaged-list") for line in damaged)}
