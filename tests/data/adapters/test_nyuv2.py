"""NYU Depth V2: a small file in the layout that MATLAB 7.3 gives it, what is missing, and what is damaged."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from coview.data.adapters import Made, Options, load_adapter, nyuv2
from coview.data.adapters.nyuv2 import LABELLED, SPLITS
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.data.normals import rays_of
from coview.data.open import open_source
from coview.data.surfaces import CollectedSurfaces
from coview.data.tracks import read_depth
from coview.errors import UsageError
from coview.methods.split_brain import SplitBrainSettings

h5py = pytest.importorskip("h5py", reason="needs the extra hdf5: pip install 'coview[hdf5]'")
HIGH, WIDE, COUNT, FOCAL = 40, 60, 4, 0.9265
NORMAL = torch.tensor([0.2, -0.6, -0.77])
NORMAL = NORMAL / NORMAL.norm()


def plane() -> np.ndarray:
    """Return the depth of a plane (H, W) that faces NORMAL, about two metres away."""
    return (-2.0 / torch.einsum("c,chw->hw", NORMAL.double(), rays_of((HIGH, WIDE), FOCAL)) * 0.7).float().numpy()


def words(file, name: str, *texts: str) -> None:
    """Write a list of words as MATLAB does: references to arrays of characters of their own, in a column."""
    references = file.create_dataset(name, (1, len(texts)), h5py.ref_dtype)
    references.attrs["MATLAB_class"] = np.bytes_("cell")
    for number, text in enumerate(texts):
        letters = file.create_dataset(f"#refs#/{name}{number}", data=np.array([[ord(one)] for one in text], np.uint16))
        references[0, number] = letters.ref


def write(folder: Path, *left_out: str, **changed: np.ndarray) -> Path:
    """Write the labelled file without some of its arrays; every axis stands the other way round."""
    folder.mkdir(parents=True, exist_ok=True)
    draw, depth = np.random.default_rng(0), plane()
    measured = depth.copy()
    measured[:10, :5] = 0
    labels = np.zeros((HIGH, WIDE, COUNT), np.uint16)
    labels[:20], labels[30:, :, 1] = 2, 1
    arrays = {
        "images": draw.integers(0, 255, (HIGH, WIDE, 3, COUNT), dtype=np.uint8),
        "depths": np.repeat(depth[:, :, None], COUNT, 2),
        "rawDepths": np.repeat(measured[:, :, None], COUNT, 2),
        "labels": labels,
        **changed,
    }
    with h5py.File(folder / LABELLED, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            if name not in left_out:
                file.create_dataset(name, data=values.transpose(*reversed(range(values.ndim))), compression="gzip")
        lists = {"names": ("chair", "wall"), "sceneTypes": ("kitchen", "office") * 2}
        lists["scenes"] = ("kitchen_0001", "office_0001", "kitchen_0001", "office_0002")
        for name, texts in lists.items():
            if name not in left_out:
                words(file, name, *texts)
    savemat(folder / SPLITS, {"trainNdxs": np.array([[1], [3]]), "testNdxs": np.array([[2], [4]])})
    return folder


def made(folder: Path) -> Made:
    return load_adapter("nyuv2")(folder.parent / "out", Options(folder=folder))


def test_colours_depth_labels_and_parts(tmp_path: Path) -> None:
    folder = write(tmp_path / "nyu")
    found = made(folder)
    first, second = found.items[:2]
    assert (first.id, first.split, first.label, first.group) == ("0001", "train", "kitchen", "kitchen_0001")
    assert [item.split for item in found.items] == ["train", "test"] * 2
    assert (first.labels, second.labels) == ({"chair": -1, "wall": 1}, {"chair": 1, "wall": 1})
    assert not found.notes and not found.refused and found.report["there"] == {"train": 2, "test": 2}
    with h5py.File(folder / LABELLED) as file:
        colours = file["images"][1].transpose(2, 1, 0)
    depth, filled = (read_depth(found.root / first.tracks[track]) for track in ("depth", "filled"))
    np.testing.assert_allclose(filled, plane(), atol=0.00051)
    assert (depth == 0).sum() == 50 and np.array_equal(depth[depth > 0], filled[depth > 0])
    surfaces = CollectedSurfaces(index(folder).select(split="test"), FOCAL)
    picture, normals = surfaces[0]
    assert torch.equal(picture, torch.from_numpy(colours).permute(2, 0, 1))
    known = normals.square().sum(0) > 0
    assert not bool(known[:8, :3].any())
    assert float((normals.movedim(0, -1)[known] @ NORMAL).min()) > 0.999


def index(folder: Path) -> Collection:
    return index_source("nyuv2", folder.parent / "collection", options=Options(folder=folder), workers=0)


def test_pairs_of_colour_and_depth_for_a_split_brain(tmp_path: Path) -> None:
    settings = dataclasses.replace(SplitBrainSettings.tiny(), pair="rgb-d")
    source = open_source(str(index(write(tmp_path / "nyu")).folder), settings.specs())
    batch = source.read_window(torch.arange(COUNT), 0, 1)
    assert bool(batch.present["depth"].all()) and bool((batch.views["depth"] > 1).float().mean() > 0.9)


def test_pictures_of_the_published_size_are_cut_to_what_depth_covers(tmp_path: Path) -> None:
    pictures = np.zeros((480, 640, 3, 1), np.uint8)
    pictures[44, 40], pictures[470, 600] = 1, 2
    folder = write(tmp_path / "nyu", "depths", "labels", "scenes", "sceneTypes", images=pictures.repeat(2, 3),
                   rawDepths=np.ones((480, 640, 2), np.float32))  # fmt: skip
    found = made(folder)
    cut = np.asarray(Image.open(found.root / found.items[0].path))
    assert cut.shape == (427, 561, 3) and cut[0, 0, 0] == 1 and cut[-1, -1, 0] == 2
    assert {(lost.path, lost.reason) for lost in found.refused} == {("3", "damaged-list"), ("4", "damaged-list")}
    said = " ".join(found.notes)
    assert "lacks depths" in said and "lacks labels" in said and "lacks sceneTypes: recordings have no label" in said


def test_what_is_missing_is_said_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "nyu", "rawDepths", "names")
    (folder / SPLITS).unlink()
    found = made(folder)
    assert any("lacks rawDepths" in note for note in found.notes)
    assert any(f"{SPLITS} is not there" in note for note in found.notes)
    assert set(found.items[0].tracks) == {"depth"} and not found.items[0].labels and found.items[0].split is None
    for left_out, said in ((("images",), "expected images"), (("depths", "rawDepths"), "rawDepths or depths")):
        with pytest.raises(UsageError, match=said):
            made(write(tmp_path / "bad", *left_out))
    (tmp_path / "bad" / LABELLED).unlink()
    with pytest.raises(UsageError, match=f"lacks {LABELLED}"):
        made(tmp_path / "bad")


def test_what_is_not_as_published_is_refused(tmp_path: Path) -> None:
    small = np.zeros((HIGH, WIDE - 1, COUNT), np.float32)
    for changed, said in (
        ({"rawDepths": small}, "rawDepths is not as published"),
        ({"images": np.zeros((HIGH, WIDE, 3, COUNT))}, "images is not as published: expected small whole numbers"),
        ({"images": np.zeros((HIGH, WIDE, 4, COUNT), np.uint8)}, "three colours"),
        ({"images": np.zeros((HIGH, WIDE, 3, COUNT), np.uint16)}, "three colours, 0 to 255"),
        ({"images": np.zeros((HIGH, WIDE, 3, 0), np.uint8)}, "three colours"),
    ):
        with pytest.raises(UsageError, match=said):
            made(write(tmp_path / "nyu", **changed))
    folder = write(tmp_path / "nyu", "rawDepths", "names")
    with h5py.File(folder / LABELLED, "a") as file:
        file["rawDepths"] = h5py.ExternalLink(str(folder / "another.mat"), "/secret")
    with pytest.raises(UsageError, match="rawDepths is not as published: expected an array of this file's own"):
        made(folder)
    with h5py.File(folder / LABELLED, "a") as file:
        del file["rawDepths"]
        file["names"] = np.arange(3)
    with pytest.raises(UsageError, match="expected references to words"):
        made(folder)
    (folder / LABELLED).write_bytes(b"MATLAB 7.3 MAT-file" + bytes(2000))
    with pytest.raises(UsageError, match=r"cannot be read as MATLAB 7\.3"):
        made(folder)


def damage(path: Path, name: str) -> None:
    """Overwrite what an array is packed in."""
    with h5py.File(path) as file:
        parts = [file[name].id.get_chunk_info(number) for number in range(file[name].id.get_num_chunks())]
    data = bytearray(path.read_bytes())
    for part in parts:
        data[part.byte_offset : part.byte_offset + part.size] = b"\x5a" * part.size
    path.write_bytes(data)


def test_a_damaged_part_is_told_from_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "nyu", "names")

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(nyuv2, "write_pair", full)
        made(folder)
    with h5py.File(folder / LABELLED, "a") as file:
        letters = file.create_dataset("#refs#/packed", data=np.full((50, 1), 65, np.uint16), compression="gzip")
        names = file.create_dataset("names", (1, 1), h5py.ref_dtype)
        names[0, 0] = letters.ref
    damage(folder / LABELLED, "#refs#/packed")
    with pytest.raises(UsageError, match="names is not as published"):
        made(folder)
    folder = write(tmp_path / "nyu")
    damage(folder / LABELLED, "images")
    savemat(folder / SPLITS, {"trainNdxs": np.array([[9]]), "testNdxs": np.array([[0]])})
    found = made(folder)
    assert {lost.reason for lost in found.refused} == {"damaged", "damaged-list"} and not found.items
    assert not any("is not there" in note for note in found.notes)  # it is, and all of it is wrong
