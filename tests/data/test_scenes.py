"""Scenes: the made world, the same by way of VOC's layout, and truth that is damaged or does not fit."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from coview.data.adapters import Options
from coview.data.annotations import read_annotation, read_mask
from coview.data.collected_scenes import CollectedScenes
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.leaks import shared
from coview.data.scenes import VOID, Permuted, mirrored
from coview.data.synthetic.shapes import KINDS, ShapesWorld
from coview.data.synthetic.voc_layout import write_voc
from coview.errors import MediaError, UsageError


@pytest.fixture(scope="module")
def worlds():
    return {"train": ShapesWorld("train", 9, size=40), "test": ShapesWorld("test", 4, size=40)}


@pytest.fixture
def collection(worlds, tmp_path):
    write_voc(worlds, tmp_path / "voc")
    for kind in ("Main", "Segmentation"):
        (tmp_path / f"voc/ImageSets/{kind}/val.txt").write_text("")
    return index


def index(root, variant=""):
    out = root / f"collection{variant.replace(':', '-')}"
    return index_source(f"voc{variant}", out, options=Options(folder=root / "voc"), workers=0)


def test_a_scene_depends_on_its_place_alone(worlds):
    many, few = worlds["train"], ShapesWorld("train", 3, size=40)
    for row in range(3):
        scene, again = many[row], few[row]
        assert (scene.picture.int() - again.picture.int()).abs().max() <= 1
        assert (scene.mask != again.mask).float().mean() < 0.01
        assert (scene.objects.boxes - again.objects.boxes).abs().max() <= 1
    other = ShapesWorld("train", 3, 1, size=40)
    assert not torch.equal(other.masks, few.masks) and other.fingerprint != few.fingerprint


def test_boxes_and_masks_say_the_same(worlds):
    for row in range(9):
        picture, objects, mask = worlds["train"][row]
        assert picture.dtype == mask.dtype == torch.uint8 and picture.shape == (3, 40, 40)
        assert 1 <= len(objects.boxes) <= 3
        said = {k - 1 for k in mask.unique().tolist() if k not in (0, VOID)}
        assert said == set(objects.classes.tolist()) and said <= set(range(len(KINDS)))
        covered = torch.zeros(40, 40, dtype=torch.bool)
        for left, top, right, bottom in objects.boxes.int().tolist():
            assert 0 <= left < right <= 40 and 0 <= top < bottom <= 40
            covered[top:bottom, left:right] = True
        assert bool(covered[(mask > 0) & (mask != VOID)].all())


def test_one_shape_has_its_label():
    world = ShapesWorld("train", 5, size=32, most=1)
    assert [world.truth(row).classes.tolist() for row in range(5)] == [[label] for label in world.labels.tolist()]
    with pytest.raises(UsageError, match="32 pixels at least"):
        ShapesWorld(size=16)


def test_voc_layout_and_back(worlds, collection, tmp_path):
    made = collection(tmp_path)
    for part, world in worlds.items():
        scenes = CollectedScenes(made.select(split=part), "objects")
        assert (scenes.ids, list(scenes.classes), scenes.problems) == (world.ids, list(KINDS), [])
        for row in range(len(world)):
            want, found = world[row], scenes[row]
            assert torch.equal(found.objects.boxes, want.objects.boxes)
            assert torch.equal(found.objects.classes, want.objects.classes) and found.mask is None
            assert (found.picture.float() - want.picture.float()).abs().mean() < 12
    masks = CollectedScenes(collection(tmp_path, ":segmentation").select(split="test"), "mask")
    assert all(torch.equal(masks[row].mask, worlds["test"][row].mask) for row in range(4))


def test_what_does_not_fit_is_left_out_and_named(collection, tmp_path):
    folder = tmp_path / "voc"
    edit(folder / "Annotations/train-000000.xml", "<width>40", "<width>41")
    edit(folder / "Annotations/train-000001.xml", "</size>", f"</size>{thing('cross', 30, 3, 45, 9)}")
    edit(folder / "Annotations/train-000002.xml", "</size>", f"</size>{thing('zebra', 3, 3, 9, 9)}")
    edit(folder / "Annotations/train-000003.xml", "</annotation>", "")
    (folder / "Annotations/train-000004.xml").write_text(
        "<annotation><size><width>40</width><height>40</height></size></annotation>"
    )
    (folder / "Annotations/train-000005.xml").unlink()
    part = collection(tmp_path).select(split="train")
    scenes = CollectedScenes(part, "objects")
    reasons = {name: reason.partition(":")[0] for name, reason in scenes.problems}
    words = ("other-size", "outside", "unknown-class", "damaged", "no-objects", "no-objects")
    assert reasons == {f"train-00000{number}": word for number, word in enumerate(words)}
    assert len(scenes) == 3 and len(CollectedScenes(part, "objects", empty=True)) == 4
    with pytest.raises(UsageError, match=r"no picture with objects is left \(train-000000: other-size"):
        CollectedScenes(part, "objects", classes=["none"])


def test_masks_that_do_not_fit_are_left_out(collection, tmp_path):
    folder = tmp_path / "voc" / "SegmentationClass"
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(folder / "train-000000.png")
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(folder / "train-000001.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(folder / "train-000002.png")
    scenes = CollectedScenes(collection(tmp_path, ":segmentation").select(split="train"), "mask")
    reasons = [reason.partition(":")[0] for _, reason in scenes.problems]
    assert reasons == ["other-size", "unknown-class", "damaged"] and len(scenes) == 6


def test_what_was_touched_since_it_was_indexed_is_no_truth(collection, tmp_path):
    made, folder = collection(tmp_path), tmp_path / "voc"
    edit(folder / "Annotations/train-000001.xml", "</size>", f"</size>{thing('cross', 3, 3, 9, 9)}")
    (folder / "JPEGImages/train-000002.jpg").write_bytes((folder / "JPEGImages/train-000003.jpg").read_bytes())
    scenes = CollectedScenes(made.select(split="train"), "objects")
    assert [name for name, reason in scenes.problems if reason.startswith("changed")] == ["train-000001"]
    with pytest.raises(MediaError, match="changed"):
        scenes[scenes.ids.index("train-000002")]
    test = CollectedScenes(made.select(split="test"), "objects")
    assert not shared(scenes, test) and shared(scenes, scenes).count == len(scenes)


def test_what_must_not_be_mirrored_is_said(collection, tmp_path):
    made = collection(tmp_path)
    kept = [
        dataclasses.replace(
            row, flags=("nomirror",) * number, tracks={"objects": str((made.root / row.tracks["objects"]).resolve())}
        )
        for number, row in enumerate([*made.select(split="test")][:2])
    ]
    scenes = CollectedScenes(Collection.of(kept), "objects", KINDS)
    assert [scenes.mirrorable(row) for row in range(2)] == [True, False]
    assert sorted(Permuted(scenes, 0).mirrorable(row) for row in range(2)) == [False, True]


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def thing(name, *corners):
    bounds = "".join(f"<{n}>{v}</{n}>" for n, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<object><name>{name}</name><difficult>1</difficult><bndbox>{bounds}</bndbox></object>"


def test_annotations_count_from_one_and_small_steps_over_the_edge_are_cut(tmp_path):
    path = tmp_path / "a.xml"
    size = "<size><width>20</width><height>10</height></size>"
    path.write_text(f"<annotation>{size}{thing('dog', 1, 2, 21, 10)}</annotation>")
    found = read_annotation(path)
    assert found.boxes.tolist() == [[0, 1, 20, 10]] and found.names == ["dog"] and found.difficult.tolist() == [True]
    for text in ("", "<annotation/>", f"<annotation>{size}{thing('dog', 1, 2, 'x', 10)}</annotation>", "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(MediaError, match="damaged"):
            read_annotation(path)
    path.write_text(f"<annotation>{size}{thing('dog', 9, 2, 8, 10)}</annotation>")
    with pytest.raises(MediaError, match=r"outside: the box \[9.0, 2.0, 8.0, 10.0\] is empty"):
        read_annotation(path)
    with pytest.raises(MediaError, match="missing"):
        read_mask(tmp_path / "none.png")


def test_shapes_are_a_named_data_set(tmp_path):
    made = index_source("shapes", tmp_path / "c", options=Options(count=14, seed=3), workers=0)
    assert [len(made.select(split=part)) for part in ("train", "validation", "test")] == [8, 2, 4]
    assert not made.quarantine() and made.about["report"]["pictures"] == {"train": 8, "val": 2, "test": 4}
    part = made.select(split="test")
    boxes, masks = CollectedScenes(part, "objects"), CollectedScenes(part, "mask")
    assert torch.equal(masks.mask(1), ShapesWorld("test", 4, 3).mask(1)) and boxes.size(0) == (64, 64)
    for options in (Options(count=3), Options(folder=tmp_path), Options(variant="A")):
        with pytest.raises(UsageError, match="shapes"):
            index_source(f"shapes:{options.variant}" if options.variant else "shapes", tmp_path / "d", options=options)


def test_mirrors_and_other_truths(worlds):
    scene = worlds["train"][0]
    twice = mirrored(mirrored(scene))
    assert all(torch.equal(a, b) for a, b in zip(twice.objects, scene.objects, strict=True))
    assert torch.equal(twice.mask, scene.mask) and torch.equal(mirrored(scene).picture, scene.picture.flip(2))
    permuted = Permuted(worlds["train"], 0)
    moved = [permuted.truth(row).boxes for row in range(9)]
    own = [worlds["train"].truth(row).boxes for row in range(9)]
    assert not any(torch.equal(a, b) for a, b in zip(moved, own, strict=True))
    assert sorted(str(b.tolist()) for b in moved) == sorted(str(b.tolist()) for b in own)
    large = ShapesWorld("test", 1, size=80)

    class Both:
        name, fingerprint, classes, ids, problems = "both", "x", KINDS, ["a", "b"], ()

        def __len__(self):
            return 2

        def __getitem__(self, row):
            return (worlds["test"][0], large[0])[row]

        def truth(self, row):
            return self[row].objects

        def mask(self, row):
            return self[row].mask

        def size(self, row):
            return tuple(self[row].picture.shape[1:])

    scaled = Permuted(Both(), 0)[0]
    assert scaled.mask.shape == scaled.picture.shape[1:] == (40, 40)
    assert torch.allclose(scaled.objects.boxes, large.truth(0).boxes / 2)
