import dataclasses
from pathlib import Path

import pytest

from coview.data.collection import Collection, write_tables
from coview.data.manifest import make_manifest
from coview.data.recording import SPLITS, Recording, split_of
from coview.errors import UsageError

FOLDS = [("train", "test"), ("test", "train"), ("train", ""), ("train", "train")]


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    row = Recording(id="", path="a.mp4", start=0, end=1, duration=1, has_video=True, has_audio=True)
    rows = [dataclasses.replace(row, id=f"r{n}", split="train", folds=folds) for n, folds in enumerate(FOLDS)]
    write_tables(tmp_path, rows, [], {"source": "", "root": ".", "ignored": {}, "report": {}})
    return Collection.open(tmp_path)


def test_an_official_fold_decides_instead_of_the_split(collection: Collection) -> None:
    assert collection.folds == 2
    assert collection[1].folds == ("test", "train")
    assert collection.select(split="train", fold=1).ids == ["r0", "r2", "r3"]
    assert collection.select(split="test", fold=2).ids == ["r0"]
    assert collection.select(split="train", fold=2).ids == ["r1", "r3"]  # r2 is in no part of fold 2
    assert len(collection.select(split="train")) == 4
    assert collection.select(split="test", fold=1).fingerprint != collection.select(split="test", fold=2).fingerprint


def test_a_stored_collection_without_parts_is_parted_by_group_and_name(tmp_path: Path) -> None:
    row = Recording(id="", path="a.mp4", start=0, end=1, duration=1, has_video=True, has_audio=True)
    rows = [dataclasses.replace(row, id=f"r{n:03d}", group=f"g{n // 3}" if n < 90 else None) for n in range(300)]
    write_tables(tmp_path, rows, [], {"source": "", "root": ".", "ignored": {}, "report": {}})
    parts = {split: Collection.open(tmp_path).select(split=split) for split in SPLITS}
    assert sorted(each for part in parts.values() for each in part.ids) == [row.id for row in rows]
    assert len({part.fingerprint for part in parts.values()}) == 3
    assert all(part.ids == [r.id for r in rows if split_of(r.group or r.id) == split] for split, part in parts.items())


def test_folds_that_are_not_there(collection: Collection) -> None:
    for fold in (0, 3):
        with pytest.raises(UsageError, match="has the folds 1 to 2"):
            collection.select(split="test", fold=fold)
    older = Collection(collection.folder, collection.table.drop_columns("folds"), collection.about)
    assert older.folds == 0
    assert older[0].folds == ()
    with pytest.raises(UsageError, match="no official folds"):
        older.select(split="test", fold=1)


def test_folds_in_a_manifest(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path,folds\na.mp4,train - test\nb.mp4,\n")
    assert [item.folds for item in make_manifest(table).items] == [("train", "", "test"), ()]
    table.write_text("path,folds\na.mp4,training test\n")
    with pytest.raises(UsageError, match="folds 'training"):
        make_manifest(table)
