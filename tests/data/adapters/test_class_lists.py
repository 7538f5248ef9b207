"""Adapters of SUN397, MIT Indoor, Stanford-40 and Flowers-102, on small trees in the official layouts."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from coview.data.adapters import Made, Options, load_adapter
from coview.errors import UsageError


def pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def make(name: str, folder: Path) -> Made:
    return load_adapter(name)(folder.parent / "out", Options(folder=folder))


def refused(made: Made) -> set[tuple[str, str]]:
    return {(lost.path, lost.reason) for lost in made.refused}


def test_sun397_has_ten_folds(tmp_path: Path) -> None:
    root = tmp_path / "sun"
    one, two, three = "a/abbey/sun_a.jpg", "a/apartment_building/outdoor/sun_b.jpg", "a/abbey/sun_c.jpg"
    pictures(root / "SUN397", one, two)
    text(root / "Partitions" / "ClassName.txt", "/a/abbey", "/a/apartment_building/outdoor")
    for fold in range(1, 11):
        text(root / "Partitions" / f"Training_{fold:02d}.txt", f"/{one}" if fold < 10 else f"/{two}")
        if fold < 10:
            text(root / "Partitions" / f"Testing_{fold:02d}.txt", f"/{two}", f"/{three}", "/b/bad/x.jpg")
    with pytest.raises(UsageError, match=r"lacks the list Testing_10\.txt.*SUN397\.tar\.gz"):
        make("sun397", root)
    text(root / "Partitions" / "Testing_10.txt", f"/{one}")
    made = make("sun397", root)
    rows = {item.id: item for item in made.items}
    assert rows[one].label == "abbey" and rows[two].label == "apartment_building/outdoor"
    assert rows[one].split == "train" and rows[one].folds == ("train",) * 9 + ("test",)
    assert rows[two].folds == ("test",) * 9 + ("train",)
    assert refused(made) == {(three, "not-downloaded"), ("/b/bad/x.jpg", "damaged-list")}
    assert any("fold 1 train: the list has 1, the official one 19850" in note for note in made.report["notes"])


def test_mit_indoor_takes_what_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "indoor"
    pictures(root / "Images", "kitchen/a 1.jpg", "kitchen/b.jpg", "bar/c.jpg", "bar/unlisted.jpg")
    text(root / "TrainImages.txt", "kitchen/a 1.jpg", "bar/c.jpg", "no path")
    with pytest.raises(UsageError, match=r"lacks the list TestImages\.txt"):
        make("mit-indoor", root)
    text(root / "TestImages.txt", "kitchen/b.jpg", "bar/gone.jpg")
    made = make("mit-indoor", root)
    assert {(item.id, item.label, item.split) for item in made.items} == {
        ("kitchen/a 1.jpg", "kitchen", "train"),
        ("bar/c.jpg", "bar", "train"),
        ("kitchen/b.jpg", "kitchen", "test"),
    }
    assert refused(made) == {("bar/gone.jpg", "not-downloaded"), ("no path", "damaged-list")}


def test_stanford40_names_actions(tmp_path: Path) -> None:
    root = tmp_path / "stanford"
    pictures(root / "JPEGImages", "riding_a_bike_001.jpg", "riding_a_bike_002.jpg", "running_001.jpg")
    text(root / "ImageSplits" / "actions.txt", "action_name\tnumber_of_images", "riding_a_bike\t2", "running\t2")
    text(root / "ImageSplits" / "riding_a_bike_train.txt", "riding_a_bike_001.jpg", "running_001.jpg")
    text(root / "ImageSplits" / "riding_a_bike_test.txt", "riding_a_bike_002.jpg")
    text(root / "ImageSplits" / "running_train.txt", "running_001.jpg")
    with pytest.raises(UsageError, match=r"lacks the list running_test\.txt"):
        make("stanford40", root)
    text(root / "ImageSplits" / "running_test.txt", "running_002.jpg")
    made = make("stanford40", root)
    assert {(item.id, item.label, item.split) for item in made.items} == {
        ("riding_a_bike_001.jpg", "riding_a_bike", "train"),
        ("riding_a_bike_002.jpg", "riding_a_bike", "test"),
        ("running_001.jpg", "running", "train"),
    }
    assert refused(made) == {("running_001.jpg", "damaged-list"), ("running_002.jpg", "not-downloaded")}
    assert made.report["listed"]["classes"] == 2
    text(root / "ImageSplits" / "actions.txt")
    with pytest.raises(UsageError, match="none of the 0 listed files"):
        make("stanford40", root)


def test_flowers102_reads_its_matlab_files(tmp_path: Path) -> None:
    root = tmp_path / "flowers"
    pictures(root / "jpg", "image_00001.jpg", "image_00003.jpg", "image_00004.jpg")
    savemat(root / "imagelabels.mat", {"labels": np.array([[77, 77, 1, 102]], np.uint8)})
    with pytest.raises(UsageError, match=r"lacks setid\.mat"):
        make("flowers102", root)
    savemat(root / "setid.mat", {"trnid": [[1]], "valid": [[3, 2]], "tstid": [[4, 9]]})
    made = make("flowers102", root)
    assert {(item.id, item.label, item.split) for item in made.items} == {
        ("image_00001.jpg", "077", "train"),
        ("image_00003.jpg", "001", "validation"),
        ("image_00004.jpg", "102", "test"),
    }
    assert refused(made) == {("image_00002.jpg", "not-downloaded"), ("9", "damaged-list")}
    for number in (np.inf, np.nan, 1e30):
        savemat(root / "setid.mat", {"trnid": [[number]]})
        with pytest.raises(UsageError, match="no numbers of pictures or classes"):
            make("flowers102", root)
    (root / "setid.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(UsageError, match=r"setid\.mat: cannot be read"):
        make("flowers102", root)


@pytest.mark.parametrize("name", ["sun397", "mit-indoor", "stanford40", "flowers102", "nyuv2", "pushing"])
def test_a_variant_or_no_folder_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"expected {name}"):
        load_adapter(name)(tmp_path, Options(variant="x", folder=tmp_path))
    with pytest.raises(UsageError, match="--folder must name the folder"):
        load_adapter(name)(tmp_path, Options())


def test_without_h5py_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nyu").mkdir()
    (tmp_path / "nyu" / "nyu_depth_v2_labeled.mat").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"coview\[hdf5\]"):
        make("nyuv2", tmp_path / "nyu")
